"""Test metrics of a run, on its own test rows or on others."""

import argparse
import json
import sys

from project.errors import UserError, told_in_one_line

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py and override the run's own: --data.test_path new.csv tests on all "
        "rows of another table; --trust MODULE lets the run name a module's classes.",
    )
    parser.add_argument("run", help="a run folder, a checkpoint, or `last`")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments, overrides = parser.parse_known_args()
    with told_in_one_line():
        if sys.argv[1:2] != [arguments.run] and overrides:
            raise UserError("give the run first, and flags after it")
        from rich.console import Console

        from project.lifecycle.evaluate import evaluate
        from project.report import print_metrics

        metrics, rows = evaluate(arguments.run, overrides)
        if arguments.json:
            print(json.dumps(metrics | {"rows": rows}))
        else:
            print_metrics(Console(), metrics)
            print(f"on {rows} test rows")
