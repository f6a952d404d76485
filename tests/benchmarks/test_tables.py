import io
import random
import tarfile
import zipfile

import pytest
from benchmarks import tables
from benchmarks.tables import BOOSTING, LINEAR, PIPELINE, TABLE_NET, Source


@pytest.fixture
def package(folder, monkeypatch):
    """A package with a table as it is, in a .zip and in a .tar.gz."""
    (folder / "tiny_tables").mkdir()
    draw = random.Random(0)
    rows = [("", "kind", "size", "price", "large")]
    for number in range(200):
        kind, size = draw.choice("ab"), draw.gauss(5, 2)
        rows.append((number, kind, f"{size:.3f}" if number % 20 else "NA", 3 * size + (kind == "b"), size > 5))
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (folder / "tiny_tables/t.csv").write_text(text)
    with zipfile.ZipFile(folder / "tiny_tables/t.zip", "w") as archive:
        archive.writestr("inner/t.csv", text)
    with tarfile.open(folder / "tiny_tables/t.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("inner/t.csv")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    monkeypatch.syspath_prepend(folder)
    return "tiny_tables"


def test_a_table_is_read_from_a_package_or_an_archive_in_it_and_never_downloaded(package):
    found = [tables.read(Source("t", package, file, "price", ("",))) for file in ("t.csv", "t.zip!t.csv")]
    found.append(tables.read(Source("t", package, "t.tar.gz!inner/t.csv", "price", ("",))))
    assert found[0].column_names == ["kind", "size", "price", "large"]
    assert found[0]["size"].null_count == 10
    assert all(table.equals(found[0]) for table in found)
    assert tables.read(Source("t", "no_such_package", "t.csv", "price")) is None


@pytest.mark.slow
def test_every_contestant_is_scored_on_each_table_that_is_installed(package, monkeypatch):
    sources = (
        Source("prices", package, "t.csv", "price", ("", "large")),
        Source("absent", "no_such_package", "t.csv", "price"),
        Source("sizes", package, "t.csv", "large", ("", "price"), is_class=True),
    )
    monkeypatch.setattr(tables, "SOURCES", sources)
    *measurements, over_pipeline, over_boosting = tables.tables(quick=True)
    assert [(m.what, m.name) for m in measurements] == [
        (what, name)
        for what in ("prices, R² of price", "sizes, accuracy of large")
        for name in (TABLE_NET, LINEAR, PIPELINE, BOOSTING)
    ]
    assert all(0.6 < m.value <= 1 for m in measurements)
    scores = {(m.what, m.name): m.value for m in measurements}
    for count, peer in [(over_pipeline, PIPELINE), (over_boosting, BOOSTING)]:
        won = [scores[what, TABLE_NET] >= scores[what, peer] for what in dict.fromkeys(m.what for m in measurements)]
        assert (count.value, count.ratio) == (sum(won), sum(won) / 2)
