"""Compare speed with plain PyTorch loops, stock Lightning and other servers, and scores on tables with scikit-learn."""

from functools import partial

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import UserError, exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        choices=["training", "gpu", "serving", "generation", "tables", "text", "processes"],
        default="training",
        help="what to measure (default: training)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="use fewer rows; takes up to a minute on two cores, several for tables"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="where `gpu` trains (default: cuda)")
    parser.add_argument("--json", type=path, metavar="FILE", help="write every measurement to a JSON file")
    parser.add_argument(
        "--plot", type=path, metavar="FILE", help="draw the first comparison of training to a .png or .svg file"
    )
    options = parser.parse_args()
    with exit_on_user_error():
        if options.plot and options.what != "training":
            raise UserError("--plot: only training has a figure; remove it")
        from benchmarks.report import draw, show, write_json

        if options.what == "training":
            from benchmarks.suite import suite as measure
        elif options.what == "gpu":
            from benchmarks.gpu import gpu

            measure = partial(gpu, device=options.device)
        elif options.what == "generation":
            from benchmarks.generation import generation as measure
        elif options.what == "tables":
            from benchmarks.tables import tables as measure
        elif options.what == "processes":
            from benchmarks.processes import processes as measure
        elif options.what == "text":
            from benchmarks.text import text as measure
        else:
            from benchmarks.serving import serving as measure
        measurements = show(measure(options.quick))
        if options.json:
            write_json(measurements, options.json)
        if options.plot:
            draw(measurements, options.plot)
