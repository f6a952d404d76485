"""Search for hyperparameters with Optuna: each trial is a run in one folder."""

import argparse

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error
from project.runtime.ranges import NonNegativeInt, PositiveInt
from project.sweep.ranges import HELP, split_search_args

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        usage="%(prog)s --search.FLAG RANGE [--search.FLAG RANGE …] [options] [flags of train.py]",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--trials",
        type=PositiveInt,
        metavar="N",
        help="number of trials, those of a resumed sweep included (default: 20)",
    )
    parser.add_argument(
        "--metric", metavar="NAME", help="metric of the best checkpoint to optimize (default: val/loss)"
    )
    parser.add_argument("--direction", choices=["minimize", "maximize"], help="required for a metric of your own model")
    parser.add_argument(
        "--pruner",
        choices=["median", "halving", "hyperband", "none"],
        help="how to stop bad trials early (default: median)",
    )
    parser.add_argument(
        "--seed",
        type=NonNegativeInt,
        metavar="N",
        help="seed of the search; --seed_everything is that of each training (default: 0)",
    )
    parser.add_argument(
        "--processes", type=PositiveInt, default=1, metavar="N", help="trials to train at the same time (default: 1)"
    )
    parser.add_argument("--folder", type=path, help="sweep to resume or share (default: a new lightning_logs/sweep_N)")
    parser.add_argument(
        "--trust", metavar="MODULE", action="append", default=[], help="let the trials use the classes of a module"
    )
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.sweep.search import search

        given = {name: getattr(options, name) for name in ("metric", "direction", "pruner", "seed")}
        given["search"], given["args"] = split_search_args(args)
        given["trust"] = [f"--trust={module}" for module in options.trust]
        search(options.folder, options.trials, options.processes, given)
