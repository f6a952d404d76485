"""The command of `scripts/runs.py`."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from project.overview.page import write_page
from project.overview.removal import find_runs, remove, users_of
from project.overview.selection import best_of_each_data, ordered, selected
from project.overview.show import print_comparison, print_json, print_runs
from project.overview.summary import RunSummary, read_runs
from project.runtime.errors import UserError
from project.runtime.files import check_output


def run_command(options: Namespace) -> None:
    """List, compare or delete runs.

    Args:
        options: The options of scripts/runs.py.

    Raises:
        UserError: If there is no run, two options exclude each other, or a reference is not a run.
    """
    actions = [f"--{name}" for name in ("json", "page", "compare", "delete", "keep") if getattr(options, name)]
    problem = f"{actions[1]}: excludes {actions[0]}; remove one of them" if len(actions) > 1 else None
    if options.yes and not (options.delete or options.keep):
        problem = "--yes: needs --delete or --keep, whose runs it deletes"
    if problem is not None:
        raise UserError(problem)
    if options.page:
        check_output(options.page, (".html",))
    root: Path = options.folder
    every = read_runs(root)
    if options.compare:
        names = [every[0].name if reference == "last" else reference for reference in options.compare]
        print_comparison([find_runs(every, name, root, "--compare", in_folders=False)[0] for name in names])
        return
    if options.delete:
        chosen = [run for reference in options.delete for run in find_runs(every, reference, root, "--delete")]
        _delete([*{run.path: run for run in chosen}.values()], every, root, options.yes)
        return
    known = {name for run in every for name in run.metrics}
    if options.metric and options.metric not in known:
        raise UserError(f"--metric: no run has {options.metric!r}; use one of {', '.join(sorted(known))}")
    listed = every if options.all else [run for run in every if run.path.parent == root]
    shown = ordered(selected(listed, options.where), options.sort, options.metric)
    if options.keep:
        best = best_of_each_data(shown, options.metric)
        _delete([run for run in shown if run not in best and run.state == "finished"], every, root, options.yes)
    elif options.json:
        print_json(shown)
    elif options.page:
        write_page(options.page, shown, root, options.metric)
    else:
        if not shown:
            print("no run matches every --where")
            return
        print_runs(shown, options.metric)
        if len(listed) < len(every):
            print(f"{len(every) - len(listed)} more runs in sweeps and pipelines; list them with --all")


def _delete(runs: Sequence[RunSummary], every: Sequence[RunSummary], root: Path, is_confirmed: bool) -> None:
    size = sum(run.bytes for run in runs) / 2**20
    words = f"{len(runs)} run{'s' * (len(runs) != 1)}, {size:.1f} MiB"
    if is_confirmed:
        remove(runs, root)
        print(f"deleted {words}")
        return
    for run in runs:
        print(run.name)
    for sentence in users_of(runs, [run for run in every if run not in runs]):
        print(f"note: {sentence}")
    print(f"would delete {words}; add --yes to do it" if runs else "nothing to delete")
