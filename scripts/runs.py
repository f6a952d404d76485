"""List the runs in a folder, compare their settings and metrics, and delete those that are not needed."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, epilog="evaluate.py compares the metrics of runs on the same rows.")
    parser.add_argument("--folder", type=path, default=path("lightning_logs"), help="of the runs (%(default)s)")
    parser.add_argument("--all", action="store_true", help="also list the runs of sweeps and pipelines")
    parser.add_argument("--where", metavar="NAME=TEXT", action="append", default=[], help="net=MLP, data.seed=1, …")
    parser.add_argument("--sort", choices=("age", "name", "data", "model", "size", "metric"), default="age")
    parser.add_argument("--metric", help="metric to show and to sort by, such as test/r2")
    parser.add_argument("--json", action="store_true", help="print all that is known about the runs as JSON")
    parser.add_argument("--page", type=path, help="write the table to an .html file")
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="show in which settings and metrics runs differ")
    parser.add_argument("--delete", nargs="+", metavar="RUN", help="delete runs; without --yes, list them")
    parser.add_argument("--keep", choices=["best"], help="delete all listed runs but the best one of each data set")
    parser.add_argument("--yes", action="store_true", help="do delete what --delete or --keep has listed")
    options = parser.parse_args()
    with exit_on_user_error():
        from project.overview.command import run_command

        run_command(options)
