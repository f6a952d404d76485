"""The table of a report, with one row per stage."""

from typing import Any

Row = dict[str, Any]
# Columns of the table: key in a row, title, and format of a number.
COLUMNS = {
    "name": ("stage", ""),
    "metric": ("", ""),
    "interval": ("95 % interval", ""),
    "parameters": ("parameters", ",d"),
    "nonzero": ("nonzero", ",d"),
    "bytes": ("bytes", ",d"),
    "milliseconds_1": ("ms, 1 row", ".3g"),
    "milliseconds_64": ("ms, 64 rows", ".3g"),
    "requests_per_second": ("requests/s", ",.0f"),
    "seconds": ("took, s", ".1f"),
    "verdict": ("verdict", ""),
}


def headings(metric: str) -> dict[str, str]:
    """Return the titles of the columns by key."""
    return {key: title or f"test {metric}" for key, (title, _) in COLUMNS.items()}


def cell(row: Row, key: str) -> str:
    """Return the text of a cell; empty if the row has no such value."""
    if key not in row:
        return ""
    if key == "metric":
        return format_metric(row[key])
    if key == "interval":
        return " to ".join(map(format_metric, row[key]))
    return format(row[key], COLUMNS[key][1])


def format_metric(value: float) -> str:
    """Format a metric with four digits, or in full from 1,000."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:#.4g}"


def markdown(report: dict[str, Any]) -> str:
    """Return the table in Markdown, with the verdicts below it, which would make it too wide."""
    titles = {key: title for key, title in headings(report["metric"]).items() if key != "verdict"}
    lines = ["| " + " | ".join(titles.values()) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(cell(row, key).replace("|", "\\|") for key in titles) + " |" for row in report["rows"]]
    lines += ["", *(f"- {row['name']}: {row['verdict']}" for row in report["rows"])]
    return f"# {report['title']}\n\n{summary_line(report)}\n\n" + "\n".join(lines) + "\n"


def commands(report: dict[str, Any]) -> str:
    """Return the command line of each stage, as a code block in Markdown."""
    return "\n".join(["```bash", *(row["command"] for row in report["rows"] if row["command"]), "```", ""])


def summary_line(report: dict[str, Any]) -> str:
    """Return the summary as a sentence."""
    summary, rows = report["summary"], f"{report['test_rows']:,} rows"
    last, first = format_metric(summary["metric_last"]), format_metric(summary["metric_first"])
    if summary["last"] == summary["first"]:
        return f"{summary['last']}: test {report['metric']} {last} on {rows}; no stage made it smaller or faster."
    return (
        f"{summary['last']} compared with {summary['first']}: test {report['metric']} {last} instead of {first} on "
        f"{rows}; {summary['times_smaller']:.1f} times smaller; {summary['times_faster_1']:.1f} times as fast for 1 "
        f"row, {summary['times_faster_64']:.1f} times for 64 rows."
    )
