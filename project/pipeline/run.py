"""A chain from its command line to its report."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from project.config.trust import with_trust
from project.pipeline.plan import make_plan
from project.pipeline.record import Pipeline, StageResult, opened, read_record, write_record
from project.pipeline.report.report import PAGE, read_report
from project.pipeline.report.table import cell, headings, quality, told
from project.pipeline.stages import do
from project.runs.folder import ROOT, claim_version
from project.runtime.console import open_console
from project.runtime.errors import UserError

SHOWN = ("name", "metric", "interval", "parameters", "bytes", "milliseconds_64", "seconds")


def run_pipeline(folder: Path | None, stages: str | None, args: Sequence[str], trust: Sequence[str] = ()) -> Path:
    """Do every stage that is not done yet, and print what each has come to.

    Args:
        folder: Of a chain to go on with, or of a new one; `lightning_logs/lifecycle_N` unless given.
        stages: Names with commas between them.
        args: Flags of scripts/train.py, and those of stages.
        trust: Modules whose classes configurations may name.

    Returns:
        The folder.

    Raises:
        UserError: If a stage fails; those before it are kept.
    """
    trusted = [f"--trust={module}" for module in trust]
    with_trust(trusted)
    before = read_record(folder) if folder is not None else None
    goes_on = folder is not None and not args and stages is None
    plan = None if goes_on else make_plan(stages, args, trusted, before[0] if before else None)
    if folder is None:
        assert plan is not None
        folder = claim_version(Path(plan.config["trainer"]["default_root_dir"] or ".") / ROOT, "lifecycle")
    console = open_console()
    with opened(folder, plan) as (plan, done):
        chain = Pipeline(folder, plan, done, trusted)
        for stage in plan.stages[len(done) :]:
            with suggest_resume(chain, f"{len(done) + 1}_{stage}"), progress(console, chain, stage) as show:
                began = time.perf_counter()
                with contextlib.redirect_stdout(LastEpoch(show)):
                    ended = do(chain, stage)
                ended.seconds = time.perf_counter() - began
            done.append(ended)
            write_record(folder, plan, done)
            console.print(line(chain, ended), markup=False, highlight=False, soft_wrap=True)
    print_report(console, folder)
    return folder


@contextlib.contextmanager
def suggest_resume(chain: Pipeline, name: str) -> Iterator[None]:
    """Have who stops or fails say which stage it was, and how to go on where there is something to go on with."""
    mend = f"python scripts/lifecycle.py --folder {os.path.relpath(chain.folder)}"
    try:
        yield
    except (UserError, OSError) as error:
        kept = chain.done or (chain.folder / name).exists()
        told = f" (what is done is kept; once mended, go on with {mend})" if kept else ""
        raise UserError(f"{name}: {error}{told}") from error
    except SystemExit:
        print(f"{name} is not done: go on with {mend}", file=sys.stderr)
        raise


@contextlib.contextmanager
def progress(console: Console, chain: Pipeline, stage: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is under way, and for how long."""
    label = f"[{len(chain.done) + 1}/{len(chain.plan.stages)}] {stage}"
    with console.status(escape(label)) as status:
        yield lambda text: status.update(escape(f"{label}: {text}"))


class LastEpoch(io.TextIOBase):
    """Takes what a training prints, and shows its last line about an epoch.

    Args:
        show: Shows a line.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self.show = show

    def write(self, text: str) -> int:
        """Look for such a line."""
        if text.startswith("Epoch ["):
            self.show(text.strip())
        return len(text)


def line(chain: Pipeline, done: StageResult) -> str:
    """One line about a stage that has ended."""
    source = next((each for each in chain.done if each.name == done.source), StageResult("", ""))
    before = {name: f" ({source.name}: {quality(value)})" for name, value in source.figures.items()}
    told = [
        f"{name} {quality(value) if name.startswith('test/') else format(value, '.3g')}{before.get(name, '')}"
        for name, value in done.figures.items()
    ]
    came_to = f"no gain: {done.finding}" if done.finding else ", ".join(told) or "done"
    return f"[{len(chain.done)}/{len(chain.plan.stages)}] {done.name}, {done.seconds:.1f} s: {came_to}"


def print_report(console: Console, folder: Path) -> None:
    """The table of a chain, and where its page lies."""
    found = read_report(folder)
    titles, table = headings(found["metric"]), Table()
    for key in SHOWN:
        table.add_column(titles[key], justify="left" if key == "name" else "right")
    for row in found["rows"]:
        table.add_row(*(escape(cell(row, key)) for key in SHOWN))
    console.print(table)
    where = os.path.relpath(folder)
    lines = [f"{row['name']}: {cell(row, 'told')}" for row in found["rows"]]
    lines += [told(found), f"Report:      {where}/{PAGE}", f"TensorBoard: tensorboard --logdir {where}"]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
