"""Compute test metrics of a run or an exported file, on its own test rows or on others, or compare several."""

import sys

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import UserError, exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py and override the run's own: --data.test_path new.csv tests on all "
        "rows of another table; --trust MODULE lets the run use a module's classes.",
    )
    parser.add_argument("run", nargs="+", help="a run folder, a checkpoint, `last`, or an .onnx file")
    parser.add_argument("--compare", action="store_true", help="also measure size and speed; implied by several runs")
    parser.add_argument("--plot", type=path, metavar="FILE", help="draw the comparison to a .png or .svg file")
    parser.add_argument(
        "--importance",
        type=path,
        metavar="FILE",
        help="shuffle each column of the table, and draw to a .png or .svg file how much the loss rises",
    )
    parser.add_argument(
        "--text", type=path, metavar="FILE", help="measure the bits per byte of a language model on a file of text"
    )
    parser.add_argument(
        "--choices",
        type=path,
        metavar="FILE",
        help="answer the multiple-choice questions in a file of JSON lines",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments, overrides = parser.parse_known_args()
    with exit_on_user_error():
        if overrides and [arg for arg in sys.argv[1:] if arg != "--compare"][: len(arguments.run)] != arguments.run:
            raise UserError("pass the runs first, and flags after them: python scripts/evaluate.py RUN --FLAG VALUE")
        if arguments.text or arguments.choices:
            from project.inference.score import score_and_report

            score_and_report(arguments.run, overrides, arguments.text, arguments.choices, arguments.json)
        elif arguments.compare or arguments.plot or len(arguments.run) > 1:
            from project.inference.compare_report import compare_and_report

            compare_and_report(arguments.run, overrides, arguments.json, arguments.plot)
        else:
            from project.inference.evaluate import evaluate_and_report

            evaluate_and_report(arguments.run[0], overrides, arguments.json, arguments.importance)
