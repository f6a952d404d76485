"""Combine several networks into one: those of finished runs, or copies that are trained side by side in one fit."""

import sys
from itertools import takewhile

import installed  # noqa: F401

from project.pipeline.stage import script_parser
from project.pipeline.stages import STAGES
from project.runtime.errors import UserError, exit_on_user_error

if __name__ == "__main__":
    usage = "%(prog)s RUN RUN [RUN …] | --members K [--bootstrap] [flags of train.py]"
    parser = script_parser(STAGES["ensemble"], __doc__, usage=usage)
    runs = list(takewhile(lambda arg: not arg.startswith("-"), sys.argv[1:]))
    options, args = parser.parse_known_args(sys.argv[1 + len(runs) :])
    with exit_on_user_error():
        from project.stages.ensemble import combine, train_jointly

        if runs and (options.members is not None or options.bootstrap):
            raise UserError("--members and --bootstrap train copies of one network; pass either them or runs")
        if len(runs) > 1:
            combine(runs, args)
        elif options.members is None:
            raise UserError("pass two runs or more, with flags after them, or --members K to train copies")
        else:
            train_jointly(options.members, bool(options.bootstrap), args)
