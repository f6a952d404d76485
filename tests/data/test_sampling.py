import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from project.data import DigitsDataModule, SeriesDataModule, SyntheticDataModule, TabularDataModule
from project.data.sampling import Sampling, balanced_order
from project.runtime.errors import UserError
from project.stages.base import parse


def sampled(data, **choice):
    data.sampling = Sampling(**choice)
    return data


def rows(data):
    """All rows, each as the bytes of its inputs, by split."""
    return [sorted(row.numpy().tobytes() for row in split.x) for split in data.splits]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 99), st.data())
def test_every_prefix_is_balanced_over_classes(classes, seed, data):
    y = torch.tensor(classes)
    order = balanced_order(y, seed)
    assert sorted(order.tolist()) == list(range(len(y)))
    taken = data.draw(st.integers(1, len(y)))
    counts, available = y[order[:taken]].bincount(minlength=4), y.bincount(minlength=4)
    unfinished = counts[counts < available]
    assert not len(unfinished) or unfinished.min() >= counts.max() - 1


def test_few_labels_are_balanced_over_classes():
    data = sampled(DigitsDataModule(), labels=50)
    assert data.splits.train.y.bincount().tolist() == [5] * 10
    assert [len(split) for split in data.splits[1:]] == [len(split) for split in DigitsDataModule().splits[1:]]


def test_rows_without_labels_are_kept_for_distillation():
    data, whole = sampled(DigitsDataModule(), labels=50, unlabelled=True), DigitsDataModule()
    y = data.splits.train.y
    assert data.splits.train.x.equal(whole.splits.train.x)
    assert (y >= 0).sum() == 50
    assert y[y >= 0].equal(whole.splits.train.y[y >= 0])


def test_target_statistics_are_of_labelled_rows_and_feature_statistics_of_all():
    data = sampled(SyntheticDataModule(rows=200), labels=20, unlabelled=True)
    train = data.splits.train
    known = ~train.y[:, 0].isnan()
    assert known.sum() == 20
    assert data.target_statistics.mean.item() == pytest.approx(train.y[known].mean().item(), rel=1e-5)
    assert data.feature_statistics.mean.item() == pytest.approx(train.x.mean().item(), rel=1e-5)
    expected = np.linalg.lstsq(np.c_[train.x[known].numpy(), np.ones(20)], train.y[known].numpy(), rcond=None)[0]
    assert data.least_squares.weights.item() == pytest.approx(expected[0, 0], rel=1e-5)


def test_unlabelled_rows_come_from_a_table_of_their_own(folder, table):
    (folder / "more.csv").write_text("b,a\n" + "7,100\n" * 3)
    data = TabularDataModule(str(table()), "y")
    alone = len(data.splits.train)
    data = sampled(TabularDataModule(str(table()), "y"), unlabelled_path="more.csv")
    assert data.splits.train.x[alone:].tolist() == [[100, 7]] * 3
    assert data.splits.train.y[alone:].isnan().all()


def test_folds_test_every_row_once():
    whole = sorted(row for split in rows(DigitsDataModule()) for row in split)
    tested, sizes = [], []
    for fold in range(3):
        data = sampled(DigitsDataModule(), folds=3, fold=fold)
        train, val, test = rows(data)
        assert sorted(train + val + test) == whole
        tested += test
        sizes.append(data.splits.test.y.bincount())
    assert sorted(tested) == whole
    spread = torch.stack(sizes).amax(0) - torch.stack(sizes).amin(0)
    assert spread.max() <= 1  # per class, like scikit-learn's StratifiedKFold


def test_bootstrap_weights_are_counts_of_draws_by_member():
    weights = Sampling(bootstrap=4).bootstrap_weights(1_000, 3)
    assert weights.sum(0).tolist() == [1_000.0] * 3
    assert weights[:, 1:2].equal(Sampling(bootstrap=5).bootstrap_weights(1_000, 1))
    assert (weights == 0).float().mean().item() == pytest.approx(
        np.exp(-1), abs=0.02
    )  # share of rows that were not drawn


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--sampling.labels 0", "--sampling.labels: must be an integer, 1 or more, got 0"),
        ("--sampling.unlabelled true", "--sampling.unlabelled: set --sampling.labels"),
        ("--sampling.folds 1", "--sampling.folds: must be an integer, 2 or more, got 1"),
        ("--sampling.folds 3 --sampling.fold 3", r"--sampling.fold: must be below --sampling.folds \(3\), got 3"),
        ("--sampling.fold 1", r"--sampling.fold: must be below --sampling.folds \(not set\), got 1"),
        ("--sampling.bootstrap -1", "--sampling.bootstrap: must be an integer, 0 or more, got -1"),
    ],
)
def test_numbers_out_of_range_are_named(args, message):
    with pytest.raises(UserError, match=message):
        Sampling(**parse(args.split())["sampling"])


@pytest.mark.parametrize(
    ("data", "choice", "message"),
    [
        (SyntheticDataModule(), {"labels": 101}, "--sampling.labels: there are only 100 training rows, got 101"),
        (
            SyntheticDataModule(rows=2, val_rows=1, test_rows=1),
            {"folds": 3},
            "--sampling.folds: must be at most 2 for 4 rows, got 3",
        ),
        (SeriesDataModule(rows=200), {"folds": 3}, "--sampling.folds: is not supported for overlapping windows"),
        (SyntheticDataModule(), {"unlabelled_path": "no.csv"}, "no.csv: no such file"),
    ],
)
def test_choices_that_the_rows_do_not_allow_are_named(folder, data, choice, message):
    with pytest.raises(UserError, match=message):
        _ = sampled(data, **choice).splits
