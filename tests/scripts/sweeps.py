"""Short sweeps, and what they have stored."""

from pathlib import Path

from project.sweep.ranges import split_search_args
from project.sweep.search import search
from project.sweep.study import open_study

RATE = ["--search.optimizer.lr", "log(1e-3, 1)"]
S = Path("s")
SMALL = ["--data.rows", "50", "--data.features", "2", "--trainer.max_epochs", "3"]


def sweep(*args, folder=S, trials=3, **options):
    """Run a sweep in this process."""
    given = {**dict.fromkeys(("metric", "direction", "pruner", "seed")), "trust": [], **options}
    given["search"], given["args"] = split_search_args(args)
    search(folder, trials, 1, given)


def facts(folder):
    """Return what a study has stored about each trial."""
    return [(t.number, t.state.name, t.value, t.params, t.intermediate_values) for t in open_study(folder).trials]
