import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from project.data import DigitsDataModule, SeriesDataModule, SyntheticDataModule, TabularDataModule
from project.data.sampling import Sampling, balanced_order
from project.runtime.errors import UserError


def sampled(data, **choice):
    data.sampling = Sampling(**choice)
    return data


def rows(data):
    """All rows, each as the bytes of its inputs, by split."""
    return [sorted(row.numpy().tobytes() for row in split.x) for split in data.splits]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 99), st.data())
def test_every_stretch_from_the_start_has_classes_alike(classes, seed, data):
    y = torch.tensor(classes)
    order = balanced_order(y, seed)
    assert sorted(order.tolist()) == list(range(len(y)))
    taken = data.draw(st.integers(1, len(y)))
    counts, available = y[order[:taken]].bincount(minlength=4), y.bincount(minlength=4)
    unfinished = counts[counts < available]
    assert not len(unfinished) or unfinished.min() >= counts.max() - 1


def test_few_labels_are_of_all_classes_alike():
    data = sampled(DigitsDataModule(), labels=50)
    assert data.splits.train.y.bincount().tolist() == [5] * 10
    assert [len(split) for split in data.splits[1:]] == [len(split) for split in DigitsDataModule().splits[1:]]


def test_rows_without_labels_stay_where_a_teacher_is_to_label_them():
    data, whole = sampled(DigitsDataModule(), labels=50, unlabelled=True), DigitsDataModule()
    y = data.splits.train.y
    assert data.splits.train.x.equal(whole.splits.train.x)
    assert (y >= 0).sum() == 50
    assert y[y >= 0].equal(whole.splits.train.y[y >= 0])


def test_targets_are_standardised_by_labelled_rows_and_features_by_all():
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


def test_folds_test_every_row_once_and_leave_no_row_out():
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
    assert spread.max() <= 1  # of each class, as of scikit-learn's StratifiedKFold


def test_bootstrap_weights_are_counts_of_draws_and_a_members_own():
    weights = Sampling(bootstrap=4).bootstrap_weights(1_000, 3)
    assert weights.sum(0).tolist() == [1_000.0] * 3
    assert weights[:, 1:2].equal(Sampling(bootstrap=5).bootstrap_weights(1_000, 1))
    assert (weights == 0).float().mean().item() == pytest.approx(np.exp(-1), abs=0.02)  # of rows that were not drawn


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"labels": 0}, "--sampling.labels is 0"),
        ({"unlabelled": True}, "with --sampling.labels"),
        ({"folds": 1}, "--sampling.folds is 1"),
        ({"folds": 3, "fold": 3}, "--sampling.fold is 3"),
        ({"bootstrap": -1}, "--sampling.bootstrap is -1"),
    ],
)
def test_numbers_out_of_range_are_named(choice, told):
    with pytest.raises(UserError, match=told):
        Sampling(**choice)


@pytest.mark.parametrize(
    ("data", "choice", "told"),
    [
        (SyntheticDataModule(), {"labels": 101}, "there are 100 training rows"),
        (SyntheticDataModule(rows=2, val_rows=1, test_rows=1), {"folds": 3}, "4 rows are too few, give at most 2"),
        (SeriesDataModule(rows=200), {"folds": 3}, "windows of one series overlap"),
        (SyntheticDataModule(), {"unlabelled_path": "no.csv"}, "no.csv: no such file"),
    ],
)
def test_what_the_rows_do_not_allow_is_told(folder, data, choice, told):
    with pytest.raises(UserError, match=told):
        _ = sampled(data, **choice).splits
