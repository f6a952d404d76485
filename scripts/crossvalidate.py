"""Train and test an experiment on every fold of its rows; mean and spread of each metric."""

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, epilog="Further flags are those of train.py.")
    parser.add_argument("--folds", type=int, default=5, help="how many parts the rows are cut into; 5 unless given")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.stages.crossvalidate import crossvalidate, summary
        from project.training.report import print_spread

        found = []
        for run, metrics in crossvalidate(options.folds, args):
            print(f"{run}: {', '.join(f'{name} {value:#.4g}' for name, value in metrics.items())}", flush=True)
            found.append(metrics)
        print_spread(summary(found))
        print(f"TensorBoard: tensorboard --logdir {run.parent}")
