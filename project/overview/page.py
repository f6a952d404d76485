"""The table of runs as a page of one file, without scripts."""

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

from project.overview.show import NUMBERS, TITLES, cells
from project.overview.summary import RunSummary
from project.pipeline.report.style import STYLE
from project.runtime.files import atomic_write

PAGE = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Runs</title><style>{style}.text{{text-align:left}}</style></head><body><main>
<h1>{count} in {root}</h1><p class="note">as of {date}</p><div class="wide"><table><thead><tr>{titles}</tr></thead>
<tbody>
{rows}
</tbody></table></div></main></body></html>
"""


def write_page(path: Path, runs: Sequence[RunSummary], root: Path, metric: str | None) -> None:
    """Write the table to an HTML file."""
    titles = "".join(f'<th class="{_side(title)}">{title}</th>' for title in TITLES)
    rows = "\n".join(f"<tr>{_row(run, metric)}</tr>" for run in runs)
    count = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    date = time.strftime("%Y-%m-%d %H:%M")
    page = PAGE.format(style=STYLE, date=date, count=count, root=escape(str(root)), titles=titles, rows=rows)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _row(run: RunSummary, metric: str | None) -> str:
    pairs = zip(TITLES, cells(run, metric), strict=True)
    return "".join(
        f'<td class="{_side(title)}{"" if text else " empty"}" data-title="{title}">{escape(text)}</td>'
        for title, text in pairs
    )


def _side(title: str) -> str:
    return "name" if title == "run" else "" if title in NUMBERS else "text"
