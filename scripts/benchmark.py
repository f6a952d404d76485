"""How fast it is beside a plain PyTorch loop, stock Lightning and scikit-learn, or beside other servers; as ratios."""

from pathlib import Path

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import UserError, exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=["training", "serving"], default="training", help="training unless given"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows: under a minute on two cores")
    parser.add_argument("--json", type=Path, help="a file to write every figure to")
    parser.add_argument("--plot", type=Path, help="a .png or .svg file to draw the first comparison of training into")
    options = parser.parse_args()
    with exit_on_user_error():
        if options.plot and options.what == "serving":
            raise UserError("--plot: only training is drawn: leave it out")
        from benchmarks.report import draw, show, write_json

        if options.what == "training":
            from benchmarks.suite import suite as figures_of
        else:
            from benchmarks.serving import serving as figures_of
        figures = show(figures_of(options.quick))
        if options.json:
            write_json(figures, options.json)
        if options.plot:
            draw(figures, options.plot)
