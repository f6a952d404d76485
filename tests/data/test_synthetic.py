import pytest
import torch

from project.data import SyntheticDataModule
from project.runtime.errors import UserError
from project.stages.base import parse


def test_defaults_are_the_tutorials_problem():
    data = SyntheticDataModule()
    assert [len(split) for split in data.splits] == [100, 100, 100]
    assert data.in_shape == (1,)
    assert data.out_features == 1
    assert (data.weight.item(), data.bias.item(), data.noise) == (3.0, 2.0, 1.0)


def test_without_noise_rows_lie_on_the_true_plane():
    data = SyntheticDataModule(rows=9, features=2, outputs=2, weight=[1, 2, 3, 4], bias=[5, 6], noise=0)
    x, y = data.splits.train.x, data.splits.train.y
    expected = torch.stack([x[:, 0] + 3 * x[:, 1] + 5, 2 * x[:, 0] + 4 * x[:, 1] + 6], dim=1)
    torch.testing.assert_close(y, expected)


def test_splits_and_seeds_are_drawn_separately():
    first, again, other = SyntheticDataModule(), SyntheticDataModule(), SyntheticDataModule(seed=1)
    assert first.splits.train.x.equal(again.splits.train.x)
    drawn = [split.x for data in (first, other) for split in data.splits]
    assert len({tuple(x.flatten().tolist()) for x in drawn}) == 6


def test_noise_has_the_standard_deviation_asked_for():
    data = SyntheticDataModule(rows=50_000, noise=0.5)
    assert data.least_squares.residual_std.item() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows", "0", "must be an integer, 1 or more, got 0"),
        ("batch_size", "0", "must be an integer, 1 or more, got 0"),
        ("noise", "-1.0", "must be a number, 0 or more, got -1.0"),
        ("num_workers", "-1", "must be an integer, 0 or more, got -1"),
    ],
)
def test_numbers_out_of_range_are_named(name, value, message):
    with pytest.raises(UserError, match=f"--data.{name}: {message}"):
        parse([f"--data.{name}", value])


def test_a_weight_of_the_wrong_size_is_named():
    with pytest.raises(UserError, match="--data.weight: must have 1 or 6 numbers, got 2"):
        SyntheticDataModule(features=3, outputs=2, weight=[1.0, 2.0])
