"""Run the whole life cycle of a model: teacher, ensemble, student, pruning, int8, server, and a report."""

import installed  # noqa: F401

from project.pipeline.stages import STAGES
from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        usage="%(prog)s [--stages A,B,…] [--folder FOLDER] [--STAGE.FLAG VALUE …] [flags of train.py]",
        epilog="Write flags of a stage's own script after its name: --distill.trainer.max_epochs 80, "
        "--distill.model.net MLP, --ensemble.members 5, --prune.structured 0.25. A `lifecycle:` section in the YAML "
        "file of an experiment does the same: `stages: [train, prune]`, `prune: {structured: 0.25}`. All other flags "
        "are those of train.py.",
    )
    parser.add_argument(
        "--stages", metavar="A,B,…", help=f"stages to run, separated by commas (default: {','.join(STAGES)})"
    )
    parser.add_argument("--folder", type=path, help="pipeline to resume (default: a new lightning_logs/lifecycle_N)")
    parser.add_argument(
        "--trust", metavar="MODULE", action="append", default=[], help="let the runs use the classes of a module"
    )
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.pipeline.run import run_pipeline

        run_pipeline(options.folder, options.stages, args, options.trust)
