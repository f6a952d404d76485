import pytest
import torch
from sklearn.datasets import load_digits

from project.data import DigitsDataModule
from project.runtime.errors import UserError


def test_all_images_are_split_once_with_their_digits():
    data = DigitsDataModule()
    assert sum(map(len, data.splits)) == 1797
    assert data.in_shape == (1, 8, 8)
    assert data.out_features == 10
    images, digits = load_digits(return_X_y=True)
    known = {tuple(image): digit for image, digit in zip(images.tolist(), digits.tolist(), strict=True)}
    for rows in data.splits:
        assert [known[tuple(x.flatten().tolist())] for x in rows.x] == rows.y.tolist()


def test_rows_of_an_image_are_the_steps_of_a_sequence(recwarn):
    images, sequences = DigitsDataModule(), DigitsDataModule(as_sequence=True)
    assert sequences.in_shape == (8, 8)
    assert sequences.splits.test.x.equal(images.splits.test.x[:, 0])
    assert not recwarn.list  # no warning about the margins, which are blank in every image


def test_some_classes_are_renumbered_in_order():
    data = DigitsDataModule(classes=[9, 5])
    assert data.class_names == ["5", "9"]
    assert set(data.splits.train.y.tolist()) == {0, 1}
    assert data.splits.train.y.dtype == torch.int64


def test_fractions_that_leave_nothing_are_named():
    with pytest.raises(UserError, match="leave no training rows"):
        DigitsDataModule(val_fraction=0.6, test_fraction=0.5)


def test_invalid_classes_are_named():
    with pytest.raises(UserError, match="--data.classes: must be two or more digits"):
        DigitsDataModule(classes=[3, 12])
