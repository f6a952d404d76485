"""The report of a language model has its bits per byte next to those of other methods."""

import pytest

from project.data import MarkovDataModule
from project.training import report
from project.training.train import train

ARGS = [
    *("--data", "MarkovDataModule", "--data.length", "20_000", "--data.context", "32", "--data.cache", "cache"),
    *("--model", "LanguageModel", "--model.net.width", "8", "--model.net.layers", "1", "--model.net.heads", "1"),
    *("--trainer.max_epochs", "1"),
]


@pytest.mark.parametrize("is_long", [False, True])
def test_other_methods_stand_beside_the_model_and_what_they_have_seen_of_a_long_text(
    folder, capsys, monkeypatch, is_long
):
    if is_long:
        monkeypatch.setattr(report, "MAX_COMPRESSED", 10_000)
    metrics = train(ARGS)
    printed = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("│")[1:3]] for line in printed.splitlines() if "│" in line]
    table = dict(line for line in lines if len(line) == 2)
    entropy = MarkovDataModule(cache="cache").entropy
    assert table["learned"] == f"{metrics['test/bits_per_byte']:#.5g}"
    assert table["n-grams (Kneser-Ney, order 3)"] == f"{metrics['bits_per_byte/kneser_ney']:#.5g}"
    assert table[f"the source itself (entropy {entropy:#.6g})"] == f"{metrics['bits_per_byte/source']:#.5g}"
    assert metrics["bits_per_byte/source"] < metrics["bits_per_byte/kneser_ney"] < metrics["bits_per_byte/xz"]
    assert metrics["test/bits_per_byte"] > metrics["bits_per_byte/source"]
    assert ("the last 10,000 (compressors)" in " ".join(printed.split())) == is_long
