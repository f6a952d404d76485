"""The style sheet of a report, for screens of any width, light and dark."""

# Variables of the style sheet: their values on a light and on a dark page. c1, c2, … are the colours of the stages.
# Source of the series: Okabe & Ito, "Color Universal Design" (2008), darkened where white text would be unreadable.
THEME = {
    "back": ("#fff", "#14181e"),
    "text": ("#1c2430", "#e6e9ee"),
    "soft": ("#5b6675", "#9aa5b4"),
    "line": ("#dfe3e8", "#2f3742"),
    "card": ("#f6f7f9", "#1d232b"),
    "good": ("#00694e", "#4fd1a5"),
    "bad": ("#a33c00", "#ff9d70"),
    "on": ("#fff", "#10141a"),
    "c1": ("#0072b2", "#56b4e9"),
    "c2": ("#b36b00", "#e69f00"),
    "c3": ("#00795a", "#2ac79a"),
    "c4": ("#a8487f", "#e28fbd"),
    "c5": ("#c24a00", "#ff8a4c"),
    "c6": ("#2a78a8", "#8ec9f0"),
    "c7": ("#6b6b6b", "#b0b0b0"),
    "c8": ("#7a5cc0", "#b9a2f5"),
}


def series(stage: int) -> str:
    """Return the variable of a stage's colour, by the number of the stage, from 1."""
    count = sum(name[1:].isdigit() for name in THEME)
    return f"c{(stage - 1) % count + 1}"


def _variables(theme: int) -> str:
    return ":root{" + "".join(f"--{name}:{values[theme]};" for name, values in THEME.items()) + "}"


STYLE = f"{_variables(0)}@media (prefers-color-scheme:dark){{{_variables(1)}}}\n"
STYLE += """\
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:1160px;margin:0 auto;padding:1rem 1.25rem 3rem}
h1{font-size:1.6rem;line-height:1.2;margin:.6rem 0}h2{font-size:1.15rem;margin:2rem 0 .6rem}
p{max-width:75ch;margin:.4rem 0}.note,small{color:var(--soft);font-size:.85rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.7rem;margin:1rem 0}
.tiles p{background:var(--card);border-radius:8px;padding:.7rem .9rem;margin:0;color:var(--soft);font-size:.9rem}
.tiles b{display:block;font-size:1.6rem;line-height:1.25;color:var(--text)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--soft);text-align:right;vertical-align:bottom}
td{text-align:right;vertical-align:top;white-space:nowrap}
th,td{padding:.45rem .5rem;border-bottom:1px solid var(--line)}
.name,.verdict{text-align:left}td.verdict{white-space:normal;min-width:15rem}
td small{display:block}td.name small{padding-left:1.9em}
tr.gain td.verdict{color:var(--good)}tr.loss td.verdict{color:var(--bad)}
tr.none td.verdict{color:var(--soft)}
i.mark{display:inline-block;width:1.5em;height:1.5em;border-radius:50%;color:var(--on);text-align:center;
font:600 .8em/1.5em system-ui,sans-serif;margin-right:.5em}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:1rem}
figure{margin:0;background:var(--card);border-radius:8px;padding:.6rem}
figcaption{display:flex;flex-wrap:wrap;gap:.2rem .9rem;font-size:.85rem;padding:.3rem}
svg{display:block;width:100%;height:auto}
pre{background:var(--card);border-radius:8px;padding:.6rem .8rem;margin:.2rem 0 .8rem;overflow-wrap:anywhere;
white-space:pre-wrap;font:.82rem/1.45 ui-monospace,monospace}.what{margin:.2rem 0}
@media (max-width:900px){thead{display:none}table,tbody,tr,td{display:block;width:100%}
tr{background:var(--card);border-radius:8px;padding:.5rem .8rem;margin-bottom:.7rem}
td{display:flex;justify-content:space-between;gap:1rem;padding:.15rem 0;border:0}
td::before{content:attr(data-title);color:var(--soft)}td.empty,td.name::before,td.verdict::before{display:none}
td.name{font-weight:600;font-size:1rem}td.verdict{text-align:left;min-width:0}
td.name small{display:inline;padding:0;margin-left:.5em;font-weight:400}}
"""
