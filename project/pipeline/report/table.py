"""The table of a report: a stage a line."""

from typing import Any

Row = dict[str, Any]
LARGE = 1_000
# Columns of the table: key in a row, title, and how a number is written.
COLUMNS = {
    "name": ("stage", ""),
    "metric": ("", ""),
    "interval": ("95 % interval", ""),
    "parameters": ("parameters", ",d"),
    "nonzero": ("not 0", ",d"),
    "bytes": ("bytes", ",d"),
    "milliseconds_1": ("ms, 1 row", ".3g"),
    "milliseconds_64": ("ms, 64 rows", ".3g"),
    "requests_per_second": ("requests/s", ",.0f"),
    "seconds": ("took, s", ".1f"),
    "told": ("", ""),
}


def headings(metric: str) -> dict[str, str]:
    """Titles of the table's columns by key."""
    return {key: {"metric": f"test {metric}", "told": "gain"}.get(key, name) for key, (name, _) in COLUMNS.items()}


def cell(row: Row, key: str) -> str:
    """What a table says of a row; empty where there is nothing to say."""
    if key == "told":
        return {True: "gain: ", False: "no gain: ", None: ""}[row["gain"]] + row["told"]
    if key == "metric" and key in row:
        return quality(row[key])
    if key == "interval" and key in row:
        return " to ".join(map(quality, row[key]))
    return format(row[key], COLUMNS[key][1]) if key in row else ""


def quality(value: float) -> str:
    """A metric in four digits, large ones in full."""
    return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:#.4g}"


def markdown(found: dict[str, Any]) -> str:
    """The report as Markdown: the table, and what is told of each stage below it, which would make it too wide."""
    titles = {key: name for key, name in headings(found["metric"]).items() if key != "told"}
    lines = ["| " + " | ".join(titles.values()) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(cell(row, key).replace("|", "\\|") for key in titles) + " |" for row in found["rows"]]
    lines += ["", *(f"- {row['name']}: {cell(row, 'told')}" for row in found["rows"])]
    return f"# {found['title']}\n\n{told(found)}\n\n" + "\n".join(lines) + "\n"


def commands(found: dict[str, Any]) -> str:
    """What does each stage by itself, as Markdown."""
    return "\n".join(["```bash", *(row["command"] for row in found["rows"] if row["command"]), "```", ""])


def told(found: dict[str, Any]) -> str:
    """The summary in a sentence."""
    it, rows = found["summary"], f"{found['test_rows']:,} rows"
    now, before = quality(it["metric_last"]), quality(it["metric_first"])
    if it["last"] == it["first"]:
        return f"{it['last']}: test {found['metric']} {now} on {rows}; no stage made it smaller or faster."
    return (
        f"{it['last']} beside {it['first']}: test {found['metric']} {now} and {before} on {rows}; "
        f"{it['times_smaller']:.1f} times smaller; {it['times_faster_1']:.1f} times as fast for a row, "
        f"{it['times_faster_64']:.1f} times for 64."
    )
