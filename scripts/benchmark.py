"""How fast it is beside a plain PyTorch loop, stock Lightning and scikit-learn; every figure as a ratio."""

import argparse
from pathlib import Path

from project.errors import told_in_one_line

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows: under a minute on two cores")
    parser.add_argument("--json", type=Path, help="a file to write every figure to")
    parser.add_argument("--plot", type=Path, help="a .png or .svg file to draw the first comparison into")
    arguments = parser.parse_args()
    with told_in_one_line():
        from project.benchmark.report import draw, show, write_json
        from project.benchmark.suite import suite

        figures = show(suite(arguments.quick))
        if arguments.json:
            write_json(figures, arguments.json)
        if arguments.plot:
            draw(figures, arguments.plot)
