"""Have a run teach another net: from labels, where rows have any, and from what the teacher says of every row."""

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py, and override the teacher's own: --model.net MLP, "
        "--model.temperature 4, --model.labels_weight 0.1, --model.mutual true, --sampling.labels 150.",
    )
    parser.add_argument("teacher", help="a run folder, a checkpoint, or `last`")
    parser.add_argument("--unlabelled", metavar="FILE", help="a table of further rows, which the teacher alone labels")
    parser.add_argument("--baseline", action="store_true", help="train the same net on the labels alone as well")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.stages.distill import distill
        from project.training.report import print_comparison

        more = ["--sampling.unlabelled_path", options.unlabelled] if options.unlabelled else []
        print_comparison(distill(options.teacher, options.baseline, [*more, *args]))
