"""Prune a run: set its smallest weights to zero, or leave out whole neurons, channels and heads; then train on."""

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py, and override the run's own: --trainer.max_epochs 20, "
        "--optimizer.lr 0.001, --pruning.epochs 5 (how long zeros take to become as many as wanted).",
    )
    parser.add_argument("run", help="a run folder, a checkpoint, or `last`")
    parser.add_argument("--sparsity", type=float, help="part of the weights to be zero, over all layers together")
    parser.add_argument("--structured", type=float, metavar="PART", help="part of the units of each layer to go")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.stages.prune import print_pruning, prune

        print_pruning(prune(options.run, options.sparsity, options.structured, args))
