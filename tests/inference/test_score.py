"""Log-probabilities of texts and multiple choice: against the definition, and hand-made questions."""

import json
import math

import pytest
import torch

from project.inference.score import Scorer, wilson
from project.runtime.errors import UserError
from tests.public_weights.folders import TEXT, opened, write_llama


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_llama(tmp_path_factory.mktemp("llama")))


@torch.no_grad()
def test_log_probabilities_are_those_of_the_logits_window_by_window(model):
    net, _, tokenizer = opened(model)
    scorer = Scorer(model)
    ids = [tokenizer.end, *tokenizer.encode((TEXT * 4).encode()).tolist()]
    for context in (64, 7, len(ids) - 1):
        scorer.context = min(context, 64)
        found = scorer.log_probabilities(ids[:60])
        for place in (1, 6, 7, 20, 58, 59):
            start = (place - 1) // scorer.context * scorer.context
            start = max(0, min(start, 59 - scorer.context))
            expected = net(torch.tensor([ids[start:place]]))[0, -1].double().log_softmax(0)[ids[place]]
            assert found[place - 1] == pytest.approx(expected.item(), abs=1e-5)
    bits, tokens = scorer.text(TEXT.encode())
    own = scorer.log_probabilities([tokenizer.end, *tokenizer.encode(TEXT.encode()).tolist()])
    assert (bits, tokens) == (pytest.approx(-own.sum() / math.log(2) / len(TEXT.encode())), len(own))


def test_the_more_likely_choice_is_taken(model, tmp_path):
    scorer = Scorer(model)
    question, choices = "The capital of France", [" is Paris", " is low lower lowest", ", 1 + 1"]
    ids = {text: scorer.tokenizer.prompt(text.encode()) for text in (question, *(question + c for c in choices))}
    sums = []
    for choice in choices:
        whole, before = ids[question + choice], len(ids[question])
        assert whole[:before] == ids[question]
        sums.append(scorer.log_probabilities(whole)[before - 1 :].sum())
        assert scorer.continuation(question, choice) == sums[-1]
    best = max(range(3), key=lambda k: sums[k])
    best_normalized = max(range(3), key=lambda k: sums[k] / len(choices[k]))
    rows = [{"question": question, "choices": choices, "answer": answer} for answer in (best, best_normalized, 0, 1, 2)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = scorer.choices(tmp_path / "q.jsonl")
    assert found.questions == 5
    assert found.accuracy == sum(row["answer"] == best for row in rows) / 5
    assert found.normalized == sum(row["answer"] == best_normalized for row in rows) / 5
    assert found.chance == pytest.approx(1 / 3)


def test_the_interval_is_wilsons():
    assert wilson(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)  # from statsmodels
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "[]",
        '{"question": "a", "choices": ["b"], "answer": 0}',
        '{"question": "a", "choices": ["b", "c"], "answer": 2}',
        '{"question": "a", "choices": ["b", ""], "answer": 0}',
        '{"choices": ["b", "c"], "answer": 0}',
        "",
    ],
)
def test_a_line_of_another_form_is_named(model, tmp_path, line):
    (tmp_path / "q.jsonl").write_text(line)
    with pytest.raises(UserError, match=r"q.jsonl: (line 1: not of the form|no questions)"):
        Scorer(model).choices(tmp_path / "q.jsonl")


def test_a_question_longer_than_the_context_is_named(model, tmp_path):
    row = {"question": TEXT * 5, "choices": ["a", "b"], "answer": 0}
    (tmp_path / "q.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"line 1: .* more than the context of 64"):
        Scorer(model).choices(tmp_path / "q.jsonl")


def test_a_file_in_another_encoding_is_named(model, tmp_path):
    (tmp_path / "q.jsonl").write_bytes('{"question": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match=r"q.jsonl: not UTF-8 at byte 14; save it as UTF-8"):
        Scorer(model).choices(tmp_path / "q.jsonl")
