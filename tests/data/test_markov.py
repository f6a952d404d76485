import numpy as np
import pytest

from project.data import MarkovDataModule
from project.runtime.errors import UserError
from project.text.markov import MarkovSource


@pytest.fixture
def source(folder):
    def build(**arguments):
        return MarkovDataModule(
            **{"letters": 3, "order": 1, "length": 5_000, "context": 16, "cache": "cache", **arguments}
        )

    return build


def test_the_splits_are_consecutive_parts_of_the_drawn_text(source):
    data = source(val_fraction=0.1, test_fraction=0.3)
    text = MarkovSource(3, 1).draw(5_000)
    assert [data.text(split) for split in ("train", "val", "test")] == [text[:3_000], text[3_000:3_500], text[3_500:]]


def test_the_entropy_is_that_of_the_frequencies_of_a_long_text(source):
    data = source(length=300_000)
    text = np.frombuffer(data.text("train"), np.uint8) - ord("a")
    pairs = np.bincount(3 * text[:-1].astype(int) + text[1:], minlength=9).reshape(3, 3) / (len(text) - 1)
    conditional = pairs / pairs.sum(1, keepdims=True)
    assert data.entropy == pytest.approx(-(pairs * np.log2(conditional)).sum(), rel=0.005)


def test_another_seed_is_another_source(source):
    assert source(seed=1).entropy != source(seed=2).entropy
    assert source(seed=1).text("val") != source(seed=2).text("val")
    assert source(seed=1).fingerprint == source(seed=1).fingerprint != source(seed=2).fingerprint


def test_too_many_contexts_are_refused(source):
    with pytest.raises(
        UserError, match="--data.order 10: too many contexts of 3 letters; --data.letters is at most 26"
    ):
        source(order=10)
    with pytest.raises(UserError, match="--data.order 1: too many contexts of 27 letters"):
        source(letters=27)
