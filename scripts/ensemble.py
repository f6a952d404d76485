"""Several nets as one: of runs that are there, or trained side by side in one fit."""

import sys
from itertools import takewhile

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import UserError, told_in_one_line

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        usage="%(prog)s RUN RUN [RUN …] | --members K [--bootstrap] [flags of train.py]",
        epilog="Predictions are the mean over members, of classes that of probabilities, with their spread beside it. "
        "Further flags are those of train.py.",
    )
    parser.add_argument("--members", type=int, help="train so many copies of one net jointly, from different seeds")
    parser.add_argument("--bootstrap", action="store_true", help="of which each has its own sample of the rows")
    runs = list(takewhile(lambda word: not word.startswith("-"), sys.argv[1:]))
    arguments, words = parser.parse_known_args(sys.argv[1 + len(runs) :])
    with told_in_one_line():
        from project.stages.ensemble import combine, train_jointly

        if runs and (arguments.members is not None or arguments.bootstrap):
            raise UserError("--members and --bootstrap train one net anew: give either these or runs")
        if len(runs) > 1:
            combine(runs, words)
        elif arguments.members is None:
            raise UserError("give two runs or more, and flags after them, or --members K to train some")
        else:
            train_jointly(arguments.members, arguments.bootstrap, words)
