import json

import numpy as np
import pytest
import torch

from project.callbacks import TextAnswer, text_answer
from project.callbacks.text_answer import symbols
from project.data import MarkovDataModule, TextDataModule
from project.models import LanguageModel
from project.nets import GPT
from project.text.compressors import compressed_bits
from project.text.kneser_ney import KneserNey
from tests.callbacks.fitting import MemoryLogger, fit

TEXT = " ".join(f"{number} green bottles, hanging on wall {number * number % 97}." for number in range(300))


def language_model(data):
    torch.manual_seed(0)
    return LanguageModel(
        data.in_shape,
        data.out_features,
        net=lambda *shapes: GPT(*shapes, width=8, layers=1, heads=1),
        token_bytes=data.token_bytes,
    )


def fit_text(data, *callbacks, **options):
    return fit(
        *callbacks, model=language_model(data), data=data, **{"max_epochs": 2, "limit_train_batches": 3} | options
    )


@pytest.fixture
def text(folder):
    """A file of text, and a cache of tokens of its own."""
    (folder / "text.txt").write_text(TEXT)

    def build(path="text.txt", **arguments):
        return TextDataModule(path, **{"cache": "cache", "context": 16, "tokenizer": "bytes", **arguments})

    return build


def test_the_answers_are_those_of_the_methods_on_the_bytes_of_the_splits(text):
    data, logger, answer = text(), MemoryLogger(), TextAnswer()
    fit_text(data, answer, logger=logger)
    train, val, test = (data.text(split) for split in ("train", "val", "test"))
    model = KneserNey(np.array([256, *train]))
    on_validation = model.bits(np.array([256, *val])) / len(val)
    best = on_validation.argmin()
    expected = {"kneser_ney": model.bits(np.array([256, *test]))[best]} | compressed_bits(train, test)
    assert answer.order == best + 1
    assert answer.bits_per_byte == pytest.approx({name: bits / len(test) for name, bits in expected.items()})
    line, curve = logger.metrics["val/bits_per_byte of Kneser-Ney"], logger.metrics["val/bits_per_byte"]
    assert line.keys() == curve.keys()  # the same steps
    assert set(line.values()) == {on_validation.min()}


def test_a_later_run_reads_the_answers_beside_the_tokens(text, monkeypatch):
    first, second = TextAnswer(), TextAnswer()
    fit_text(text(), first)
    monkeypatch.setattr(text_answer, "compute_answers", None)
    fit_text(text(), second)
    assert (second.order, second.bits_per_byte) == (first.order, first.bits_per_byte)


def test_the_source_of_a_markov_text_takes_the_bits_of_its_probabilities(folder):
    data, answer = MarkovDataModule(length=30_000, context=16, cache="cache"), TextAnswer()
    fit_text(data, answer)
    test = data.text("test")
    assert answer.bits_per_byte["source"] == pytest.approx(data.markov.bits(test) / len(test))
    assert answer.bits_per_byte["source"] < answer.bits_per_byte["kneser_ney"] < answer.bits_per_byte["xz"]


def test_a_split_that_takes_too_long_is_left_out_with_a_warning(text, monkeypatch):
    monkeypatch.setattr(text_answer, "MAX_BYTES", 1_000)
    answer = TextAnswer()
    expected = "compressors are left out: the test split has .* bytes, more than 1,000; lower --data.test_fraction"
    with pytest.warns(UserWarning, match=expected):
        fit_text(text(), answer)
    assert answer.bits_per_byte == {}


def test_data_other_than_text_has_no_answer():
    answer = TextAnswer()
    fit(answer)
    assert answer.bits_per_byte == {}


def test_symbols_have_the_end_before_each_document_whatever_the_tokens(text, folder):
    documents = ["one two", "three", "four five six", "sëven"] * 40
    (folder / "lines.jsonl").write_text("\n".join(json.dumps({"text": document}) for document in documents))
    data = text("lines.jsonl", split="position")
    found = symbols(data, "train")
    assert found[0] == 256
    pieces = np.split(found, np.flatnonzero(found == 256))[1:]
    assert [bytes(piece[1:].tolist()) for piece in pieces] == list(data.texts("train"))
    assert symbols(data, "train", 10).tolist() == found[-10:].tolist()
