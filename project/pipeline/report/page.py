"""A report as one page that opens from disk: no script, and nothing from elsewhere."""

from html import escape
from typing import Any

from project.pipeline.report.bootstrap import LEVEL, RESAMPLES
from project.pipeline.report.drawing import Point, lines, trade_off
from project.pipeline.report.style import STYLE
from project.pipeline.report.table import cell, headings, quality, told


def page(found: dict[str, Any], curves: dict[str, list[float]]) -> str:
    """The whole page.

    Args:
        found: What report.json holds.
        curves: Of each run, the validation loss after each epoch.
    """
    title = f"Life cycle: {escape(found['title'])}"
    body = [
        f"<h1>{title}</h1><p>{escape(told(found))}</p>",
        _tiles(found),
        "<h2>Stages</h2>",
        _table(found),
        "<h2>What is paid, and what is got</h2>",
        _pictures(found, curves),
        "<h2>Stage by stage</h2><p>Each line does one stage by itself.</p>",
        _commands(found),
        f"<h2>How it was measured</h2>{_method(found)}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def number(name: str) -> str:
    """What a stage is called in pictures: the number that its name begins with."""
    return name.split("_")[0]


def _tiles(found: dict[str, Any]) -> str:
    it = found["summary"]
    tiles = {
        f"test {found['metric']}, from {quality(it['metric_first'])}": quality(it["metric_last"]),
        "times smaller": f"{it['times_smaller']:.1f}",
        "times as fast, batches of 64": f"{it['times_faster_64']:.1f}",
        "seconds for all of it": f"{it['seconds']:.0f}",
    }
    return '<div class="tiles">' + "".join(f"<p><b>{b}</b>{escape(name)}</p>" for name, b in tiles.items()) + "</div>"


def _table(found: dict[str, Any]) -> str:
    titles = headings(found["metric"])
    del titles["interval"]  # stands below the metric
    lines_ = []
    for row in found["rows"]:
        kind = {True: "gain", False: "none", None: ""}[row["gain"]]
        cells = []
        for key, title in titles.items():
            text, below = escape(cell(row, key)), ""
            if key == "name":
                text, below = _named(row), f"of {row['source'].partition('_')[2]}" if row["source"] else ""
            elif key == "metric":
                below = cell(row, "interval")
            text += f"<small>{escape(below)}</small>" if below else ""
            cells.append(
                f'<td class="{key}{"" if text else " empty"}" data-title="{escape(title)}"><span>{text}</span></td>'
            )
        lines_.append(f'<tr class="{kind}">{"".join(cells)}</tr>')
    head = "".join(f'<th class="{key}">{escape(title)}</th>' for key, title in titles.items())
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines_)}</tbody></table></div>'


def _named(row: dict[str, Any]) -> str:
    """A stage's mark, and its kind."""
    return _mark(row) + escape(row["stage"])


def _mark(row: dict[str, Any]) -> str:
    return f'<i class="mark m{number(row["name"])}">{number(row["name"])}</i>'


def _pictures(found: dict[str, Any], curves: dict[str, list[float]]) -> str:
    models, metric = [row for row in found["rows"] if "bytes" in row], found["metric"]
    y_title = f"test {metric} ({'more' if found['rises'] else 'less'} is better)"
    pictures = []
    for key, x_title in {"bytes": "bytes of the ONNX file", "milliseconds_64": "ms for 64 rows, one thread"}.items():
        points = [Point(number(row["name"]), row[key], row["metric"], *row["interval"]) for row in models]
        pictures.append((trade_off(points, x_title, y_title, found["rises"]), models))
    if curves:
        named = {number(name): curve for name, curve in curves.items()}
        runs = [row for row in models if row["name"] in curves]
        pictures.append((lines(named, "epoch", "validation loss"), runs))
    figures = []
    for picture, shown in pictures:
        legend = "".join(f"<span>{_named(row)}</span>" for row in shown)
        figures.append(f"<figure>{picture}<figcaption>{legend}</figcaption></figure>")
    return (
        f'<div class="pictures">{"".join(figures)}</div><p class="note">The line joins the models that no other one '
        "beats at no more cost (Pareto front); bars are 95 % intervals.</p>"
    )


def _commands(found: dict[str, Any]) -> str:
    return "".join(
        f'<p class="what">{_named(row)}</p><pre>{escape(row["command"])}</pre>'
        for row in found["rows"]
        if row["command"]
    )


def _method(found: dict[str, Any]) -> str:
    score = "whether the class is right" if found["rises"] else "the squared error, averaged over targets"
    return (
        f"<p>All models answered the same {found['test_rows']:,} test rows. Intervals are {LEVEL} % percentile "
        "bootstrap intervals (Efron 1979; Efron &amp; Tibshirani 1993, section 13.3) of the mean over rows of "
        f"{score}, from {RESAMPLES:,} resamples of the rows with a fixed seed. They tell of the choice of test rows, "
        "and not of that of the training's seed. Two models are compared row by row: where the interval of their "
        "difference holds 0, it is within chance. Bytes are those of the ONNX file. Milliseconds are medians of ONNX "
        "Runtime on one thread of this machine's CPU, all models in turn. Requests were of one row each, by one "
        "client, one after another.</p>"
    )
