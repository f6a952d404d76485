"""Train a new network on the labels and on the outputs of a run, its teacher."""

import installed  # noqa: F401

from project.pipeline.stage import script_parser
from project.pipeline.stages import STAGES
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = script_parser(
        STAGES["distill"],
        __doc__,
        "--model.net MLP, --model.temperature 4, --model.labels_weight 0.1, --model.mutual true, --sampling.labels 150",
    )
    parser.add_argument("teacher", help="a run folder, a checkpoint, or `last`")
    parser.add_argument("--baseline", action="store_true", help="also train the same network on the labels alone")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.stages.distill import distill
        from project.training.report import print_comparison

        extra = ["--sampling.unlabelled_path", options.unlabelled] if options.unlabelled else []
        print_comparison(distill(options.teacher, options.baseline, [*extra, *args]))
