"""Search for hyperparameters by Optuna: each trial is a training, and a run of its own under one folder."""

import argparse
from pathlib import Path

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error
from project.sweep.ranges import HELP, split_words

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        usage="%(prog)s --search.FLAG RANGE [--search.FLAG RANGE …] [options] [flags of train.py]",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials", type=int, help="how many in all, those of a resumed sweep included (20)")
    parser.add_argument("--metric", help="what is to be best, of the best checkpoint of each trial (val/loss)")
    parser.add_argument("--direction", choices=["minimize", "maximize"], help="for metrics of your own")
    parser.add_argument(
        "--pruner", choices=["median", "halving", "hyperband", "none"], help="what ends trials early (median)"
    )
    parser.add_argument("--seed", type=int, help="of the choice of trials; trainings have --seed_everything (0)")
    parser.add_argument("--processes", type=int, default=1, help="how many trials to train at a time (1)")
    parser.add_argument("--folder", type=Path, help="to resume or share a sweep (lightning_logs/sweep_N, a new one)")
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help="let trials name its classes")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.sweep.search import search

        given = {name: getattr(options, name) for name in ("metric", "direction", "pruner", "seed")}
        given["search"], given["args"] = split_words(args)
        given["trust"] = [f"--trust={module}" for module in options.trust]
        search(options.folder, options.trials, options.processes, given)
