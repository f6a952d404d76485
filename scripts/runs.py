"""List the runs in a folder, compare their settings and metrics, and delete those that are not needed."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, epilog="To compare runs on the same test rows, use evaluate.py.")
    parser.add_argument(
        "--folder", type=path, default=path("lightning_logs"), help="folder of the runs (default: %(default)s)"
    )
    parser.add_argument("--all", action="store_true", help="also list the runs of sweeps and pipelines")
    parser.add_argument(
        "--where",
        metavar="NAME=TEXT",
        action="append",
        default=[],
        help="list only runs with this column or setting, such as net=MLP or data.seed=1; may be repeated",
    )
    parser.add_argument(
        "--sort",
        choices=("age", "name", "data", "model", "size", "metric"),
        default="age",
        help="order of the table (default: %(default)s)",
    )
    parser.add_argument("--metric", help="metric to show and to sort by, such as test/r2")
    parser.add_argument("--json", action="store_true", help="print settings, metrics and sizes of the runs as JSON")
    parser.add_argument("--page", type=path, metavar="FILE", help="write the table to an .html file")
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="show in which settings and metrics runs differ")
    parser.add_argument("--delete", nargs="+", metavar="RUN", help="list the runs to delete; delete them with --yes")
    parser.add_argument(
        "--keep", choices=["best"], help="list all runs but the best one of each data set; delete them with --yes"
    )
    parser.add_argument("--yes", action="store_true", help="delete the runs that --delete or --keep lists")
    options = parser.parse_args()
    with exit_on_user_error():
        from project.overview.command import run_command

        run_command(options)
