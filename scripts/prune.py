"""Prune a run: set its smallest weights to zero, or remove whole neurons, channels and heads; then train it further."""

import installed  # noqa: F401

from project.pipeline.stage import script_parser
from project.pipeline.stages import STAGES
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = script_parser(
        STAGES["prune"],
        __doc__,
        "--trainer.max_epochs 20, --optimizer.lr 0.001, --pruning.epochs 5 (epochs until the sparsity is reached)",
    )
    parser.add_argument("run", help="a run folder, a checkpoint, or `last`")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.stages.prune import print_pruning, prune

        print_pruning(prune(options.run, options.sparsity, options.structured, args))
