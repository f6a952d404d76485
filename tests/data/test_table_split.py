import pytest
import torch

from project.data import TabularDataModule
from project.data.split import stratified_split
from project.runtime.errors import UserError


def write(folder, rows=200):
    lines = [
        f"{n},{'rare' if n % 10 == 0 else 'often'},g{n % 23},2020-01-{n * 7 % 28 + 1:02d},{n}" for n in range(rows)
    ]
    (folder / "t.csv").write_text("a,class,patient,day,y\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize("counts", [[50, 50], [97, 3], [1, 1, 1], [200, 20, 10, 7]])
def test_every_class_is_in_each_split_in_proportion(counts):
    classes = torch.cat([torch.full((count,), number) for number, count in enumerate(counts)])
    classes = classes[torch.randperm(len(classes), generator=torch.Generator().manual_seed(1))]
    parts = stratified_split(classes, 0.1, 0.2, seed=0)
    assert torch.cat(parts).sort().values.equal(torch.arange(len(classes)))
    assert [len(part) for part in parts[1:]] == [round(len(classes) * 0.1), round(len(classes) * 0.2)]
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        for number, count in enumerate(counts):
            assert abs((classes[part] == number).sum() - share * count) < 2
    assert not stratified_split(classes, 0.1, 0.2, seed=1)[2].equal(parts[2]) or len(classes) < 9


def test_classes_are_in_proportion_by_default(folder):
    write(folder)
    data = TabularDataModule("t.csv", "class", features=["a"])
    assert [(rows.y == 1).sum().item() for rows in data.splits] == [14, 2, 4]


def test_a_group_is_in_one_split_and_no_feature(folder):
    write(folder)
    data = TabularDataModule("t.csv", "y", group="patient", exclude=["class", "day"])
    assert data.feature_names == ["a"]
    groups = [{int(a) % 23 for a in rows.x[:, 0].tolist()} for rows in data.splits]
    assert all(groups)
    assert len(set.union(*groups)) == sum(map(len, groups)) == 23
    assert data.row_counts == pytest.approx([140, 20, 40], abs=12)


def test_the_latest_rows_are_tested_on(folder):
    write(folder)
    splits = TabularDataModule("t.csv", "y", time="day", features=["a"]).splits
    days = [[int(a) * 7 % 28 for a in rows.x[:, 0].tolist()] for rows in splits]
    assert [len(part) for part in days] == [140, 20, 40]
    assert max(days[0]) <= min(days[1])
    assert max(days[1]) <= min(days[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": "nobody"}, r"no column 'nobody' \(--data.group\)"),
        ({"group": "patient", "time": "day"}, "--data.group, --data.time: rows can be split by only one of them"),
        ({"time": "day", "stream": True}, "--data.time: needs the rows in memory"),
    ],
)
def test_a_split_that_is_not_possible_is_an_error(folder, arguments, message):
    write(folder)
    with pytest.raises(UserError, match=message):
        TabularDataModule("t.csv", "y", **arguments)


def test_a_row_without_a_time_is_named(folder):
    write(folder)
    (folder / "t.csv").write_text(
        (folder / "t.csv").read_text().replace("3,often,g3,2020-01-22,3\n", "3,often,g3,,3\n")
    )
    with pytest.raises(UserError, match="column 'day', row 4: missing; --data.time needs it in every row"):
        _ = TabularDataModule("t.csv", "y", time="day", features=["a"]).splits


def test_a_column_of_times_may_be_ignored_as_a_feature_and_must_be_times(folder):
    write(folder)
    data = TabularDataModule("t.csv", "y", time="day", kinds={"day": "ignore"}, features=["a"])
    assert data.row_counts == [140, 20, 40]
    (folder / "n.csv").write_text("a,note,y\n" + "".join(f"{n},text {n},{n}\n" for n in range(40)))
    with pytest.raises(UserError, match="column 'note' is free text: .*; --data.time needs dates or numbers"):
        _ = TabularDataModule("n.csv", "y", time="note", features=["a"]).splits
