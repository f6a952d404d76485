"""The whole life cycle of a model in one command: teacher, ensemble, student, pruning, int8, server, and a report."""

from pathlib import Path

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        usage="%(prog)s [--stages A,B,…] [--folder FOLDER] [--STAGE.FLAG VALUE …] [flags of train.py]",
        epilog="A stage takes flags of its own script after its name: --distill.trainer.max_epochs 80, "
        "--distill.model.net MLP, --ensemble.members 5, --prune.structured 0.25. A `lifecycle:` section of an "
        "experiment's YAML says the same: `stages: [train, prune]`, `prune: {structured: 0.25}`. Other flags are those "
        "of train.py.",
    )
    parser.add_argument("--stages", help="train,ensemble,distill,prune,export,quantize,serve,evaluate, or some of them")
    parser.add_argument("--folder", type=Path, help="to go on with a chain (lightning_logs/lifecycle_N, a new one)")
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help="let runs name its classes")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.pipeline.run import run_pipeline

        run_pipeline(options.folder, options.stages, args, options.trust)
