"""The report as one HTML page that opens from disk: without scripts and without other files."""

from html import escape
from typing import Any

from project.pipeline.report.figures import Point, curves_figure, trade_off
from project.pipeline.report.measure import LEVEL, RESAMPLES
from project.pipeline.report.style import STYLE, series
from project.pipeline.report.table import cell, format_metric, headings, summary_line


def page(report: dict[str, Any], curves: dict[str, list[float]]) -> str:
    """Return the page for the contents of report.json and the validation losses of each run."""
    title = f"Life cycle: {escape(report['title'])}"
    body = [
        f"<h1>{title}</h1><p>{escape(summary_line(report))}</p>",
        _tiles(report),
        "<h2>Stages</h2>",
        _table(report),
        "<h2>Quality against cost</h2>",
        _pictures(report, curves),
        "<h2>Commands</h2><p>Each command runs one stage by itself.</p>",
        _commands(report),
        f"<h2>Method</h2>{_method(report)}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _tiles(report: dict[str, Any]) -> str:
    summary = report["summary"]
    tiles = {
        f"test {report['metric']}, from {format_metric(summary['metric_first'])}": format_metric(
            summary["metric_last"]
        ),
        "times smaller": f"{summary['times_smaller']:.1f}",
        "times as fast, batches of 64": f"{summary['times_faster_64']:.1f}",
        "seconds for all stages": f"{summary['seconds']:.0f}",
    }
    return '<div class="tiles">' + "".join(f"<p><b>{b}</b>{escape(name)}</p>" for name, b in tiles.items()) + "</div>"


def _table(report: dict[str, Any]) -> str:
    titles = headings(report["metric"])
    del titles["interval"]  # it is shown below the metric
    lines = []
    for row in report["rows"]:
        cells = []
        for key, title in titles.items():
            text, below = escape(cell(row, key)), ""
            if key == "name":
                text, below = _marked(row), f"of {row['source'].partition('_')[2]}" if row["source"] else ""
            elif key == "metric":
                below = cell(row, "interval")
            text += f"<small>{escape(below)}</small>" if below else ""
            cells.append(
                f'<td class="{key}{"" if text else " empty"}" data-title="{escape(title)}"><span>{text}</span></td>'
            )
        worse = row["gain"] is False and row["verdict"].startswith("worse")
        kind = "loss" if worse else {True: "gain", False: "none", None: ""}[row["gain"]]
        lines.append(f'<tr class="{kind}">{"".join(cells)}</tr>')
    head = "".join(f'<th class="{key}">{escape(title)}</th>' for key, title in titles.items())
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _number(name: str) -> str:
    """Return the number at the beginning of a result's name, which labels the stage in figures."""
    return name.partition("_")[0]


def _marked(row: dict[str, Any]) -> str:
    """Return the number of a stage in its colour, and its name."""
    number = _number(row["name"])
    color = series(int(number))
    return f'<i class="mark" style="background:var(--{color})">{number}</i>{escape(row["stage"])}'


def _pictures(report: dict[str, Any], curves: dict[str, list[float]]) -> str:
    models, metric = [row for row in report["rows"] if "bytes" in row], report["metric"]
    y_title = f"test {metric} ({'higher' if report['rises'] else 'lower'} is better)"
    pictures = []
    for key, x_title in {"bytes": "bytes of the ONNX file", "milliseconds_64": "ms for 64 rows, one thread"}.items():
        points = [Point(_number(row["name"]), row[key], row["metric"], *row["interval"]) for row in models]
        pictures.append((trade_off(points, x_title, y_title, report["rises"]), x_title, models))
    if curves:
        runs = [row for row in models if row["name"] in curves]
        numbered = {_number(name): curve for name, curve in curves.items()}
        pictures.append((curves_figure(numbered, "epoch", "validation loss"), "epoch", runs))
    figures = [
        f'<figure role="img" aria-label="{escape(name)}">{picture}'
        f"<figcaption>{''.join(f'<span>{_marked(row)}</span>' for row in shown)}</figcaption></figure>"
        for picture, name, shown in pictures
    ]
    return (
        f'<div class="pictures">{"".join(figures)}</div><p class="note">The dashed line is the Pareto front: its '
        "models are better than all others at the same or lower cost. Bars are 95 % intervals.</p>"
    )


def _commands(report: dict[str, Any]) -> str:
    return "".join(
        f'<p class="what">{_marked(row)}</p><pre>{escape(row["command"])}</pre>'
        for row in report["rows"]
        if row["command"]
    )


def _method(report: dict[str, Any]) -> str:
    score = "whether the class is right" if report["rises"] else "the squared error, averaged over targets"
    return (
        f"<p>All models predict the same {report['test_rows']:,} test rows. Intervals are {LEVEL} % percentile "
        "bootstrap intervals (Efron 1979; Efron &amp; Tibshirani 1993, section 13.3) of the mean over rows of "
        f"{score}, from {RESAMPLES:,} resamples of the rows with a fixed seed. They cover the choice of the test "
        "rows, not the choice of the training seed. Two models are compared row by row: if the interval of their "
        "difference contains 0, the difference may be due to chance. Bytes are those of the ONNX file. Milliseconds "
        "are medians of ONNX Runtime on one thread of this machine's CPU, measured for all models in turn. Requests "
        "have one row each and are sent by one client, one after another.</p>"
    )
