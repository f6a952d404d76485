"""Train and test an experiment on every fold of its rows, and print the mean and spread of each metric."""

import shlex

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error
from project.runtime.ranges import IntFromTwo

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, epilog="All other flags are those of train.py.")
    parser.add_argument("--folds", type=IntFromTwo, default=5, metavar="K", help="number of folds (default: 5)")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.stages.crossvalidate import crossvalidate, summary
        from project.training.report import print_spread

        found = []
        for run, metrics in crossvalidate(options.folds, args):
            print(f"{run}: {', '.join(f'{name} {value:#.4g}' for name, value in metrics.items())}", flush=True)
            found.append(metrics)
        print_spread(summary(found))
        print(f"TensorBoard: tensorboard --logdir {shlex.quote(str(run.parent))}")
