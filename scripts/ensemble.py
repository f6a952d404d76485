"""Several nets as one: of runs that are there, or trained side by side in one fit."""

import sys
from itertools import takewhile

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import UserError, exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        usage="%(prog)s RUN RUN [RUN …] | --members K [--bootstrap] [flags of train.py]",
        epilog="Predictions are the mean over members, of classes that of probabilities, with their spread beside it. "
        "Further flags are those of train.py.",
    )
    parser.add_argument("--members", type=int, help="train so many copies of one net jointly, from different seeds")
    parser.add_argument("--bootstrap", action="store_true", help="of which each has its own sample of the rows")
    runs = list(takewhile(lambda arg: not arg.startswith("-"), sys.argv[1:]))
    options, args = parser.parse_known_args(sys.argv[1 + len(runs) :])
    with exit_on_user_error():
        from project.stages.ensemble import combine, train_jointly

        if runs and (options.members is not None or options.bootstrap):
            raise UserError("--members and --bootstrap train one net anew: give either these or runs")
        if len(runs) > 1:
            combine(runs, args)
        elif options.members is None:
            raise UserError("give two runs or more, and flags after them, or --members K to train some")
        else:
            train_jointly(options.members, options.bootstrap, args)
