"""Text from a language model: cached as uncached, any prompt, stop texts, several texts at once."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import project
from project import generate
from project.inference.generate import open_language_model
from project.models.next_logits import TorchLogits
from project.nets import GPT, LoRA
from project.runtime.errors import UserError
from project.text.sampling import log_probabilities
from tests.command import run_script
from tests.trained import trained

CONTEXT = 16
SONG = "".join(f"{number} green bottles, sitting on the wall … and {number - 1} left.\n" for number in range(99, 9, -1))
ARGS = ["--data", "TextDataModule", "--data.context", str(CONTEXT), "--data.cache", "cache", "--model", "LanguageModel"]
ARGS += ["--model.net.width", "32", "--model.net.layers", "2", "--optimizer", "MuonAdamW", "--trainer.max_epochs", "6"]
ARGS += ["--data.tokenizer", "bytes", "--epoch_line.every_n_epochs", "0"]


@pytest.fixture
def run(folder, tmp_path_factory):
    """A model that has learned the song more or less by heart."""
    path = tmp_path_factory.getbasetemp() / "song.txt"
    path.write_text(SONG, encoding="utf-8")
    return trained([*ARGS, "--data.path", str(path)])


class Uncached(nn.Module):
    """The same network without its cache."""

    def __init__(self, net: GPT) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


@pytest.mark.parametrize("prompt", [1, 5, CONTEXT, CONTEXT + 1, 3 * CONTEXT])
def test_logits_with_a_cache_are_those_of_the_window_also_when_it_is_full(prompt):
    torch.manual_seed(0)
    net = GPT((CONTEXT,), 50, width=16, layers=2, heads=2, zero_init=False).double().eval()
    cached, uncached = TorchLogits(net, CONTEXT), TorchLogits(Uncached(net), CONTEXT)
    new = torch.randint(50, (3, prompt)).numpy()
    for _ in range(3 * CONTEXT):
        logits = cached(new)
        np.testing.assert_allclose(logits, uncached(new), rtol=0, atol=1e-12)
        new = logits.argmax(1)[:, None]


def test_a_net_with_adapters_computes_new_tokens_alone():
    torch.manual_seed(0)
    lora = LoRA((CONTEXT,), 50, lambda *shape: GPT(*shape, width=16, layers=2, heads=2, zero_init=False)).double()
    for weight in lora.up.values():
        nn.init.normal_(weight)
    seen: list[int] = []
    lora.net.embedding.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    cached, uncached = TorchLogits(lora.eval(), CONTEXT), TorchLogits(Uncached(lora), CONTEXT)
    for new in ([[1, 2, 3]], [[4]], [[5]]):
        np.testing.assert_allclose(cached(new), uncached(new), rtol=0, atol=1e-12)
    assert seen == [3, 3, 1, 4, 1, 5]


def test_a_full_context_is_continued_from_its_later_half():
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append(x[0].tolist())
            return torch.zeros(*x.shape, 9)

    predictions = TorchLogits(Watched(), 4)
    for piece in ([[1, 2, 3, 4, 5, 6]], [[7]], [[8]], [[9]], [[10]]):
        predictions(piece)
    assert seen == [[3, 4, 5, 6], [6, 7], [6, 7, 8], [6, 7, 8, 9], [9, 10]]


def test_the_learned_text_is_continued(run):
    [written] = generate(run, SONG[:200], temperature=0, max_tokens=60)
    assert "green bottles, sitting on the wall … and" in written.text


def test_greedy_tokens_are_those_of_a_loop_over_whole_windows(run):
    next_logits, tokenizer = open_language_model(run)
    assert isinstance(next_logits, TorchLogits)
    [written] = generate(run, "7", temperature=0, max_tokens=CONTEXT - 2)
    tokens = [tokenizer.end, ord("7")]
    for token, known in zip(written.tokens, written.log_probabilities, strict=True):
        logits = next_logits.net(torch.tensor([tokens]))[0, -1].detach().numpy()
        assert token == logits.argmax()
        assert known == pytest.approx(log_probabilities(logits)[token], abs=1e-4)
        tokens.append(token)
    assert next_logits.context == CONTEXT
    assert written.text.encode() == bytes(written.tokens)


def test_a_seed_gives_the_same_texts_and_another_one_others(run):
    same = [[written.text for written in generate(run, "9", seed=1, max_tokens=40, count=3)] for _ in range(2)]
    assert same[0] == same[1]
    assert len({*same[0], *(written.text for written in generate(run, "9", seed=2, max_tokens=40))}) == 4


def test_texts_that_are_computed_together_are_those_computed_alone(run):
    alone, together = generate(run, "9", max_tokens=40)[0], generate(run, "9", max_tokens=40, count=3)[0]
    assert alone.tokens == together.tokens
    assert alone.log_probabilities == pytest.approx(together.log_probabilities, abs=1e-4)


def test_pieces_are_shown_as_they_come_and_are_the_text(run):
    pieces: list[str] = []
    [written] = generate(run, SONG[:200], temperature=0, max_tokens=120, show=pieces.append)
    assert "".join(pieces) == written.text
    assert len([piece for piece in pieces if piece]) > 50
    assert "…" in written.text  # three bytes, each a token
    assert "\ufffd" not in written.text


def test_a_text_ends_before_a_stop_text_across_tokens(run):
    whole = generate(run, SONG[:200], temperature=0, max_tokens=80)[0].text
    stopped = generate(run, SONG[:200], temperature=0, max_tokens=80, stop=["wall", "sitting"])[0]
    assert stopped.text == whole[: whole.index("sitting")]
    assert len(stopped.tokens) < 80


@pytest.mark.parametrize("prompt", ["", "…", "\udcff\udc80", "9" * 100], ids=["empty", "dash", "no UTF-8", "long"])
def test_any_prompt_is_continued(run, prompt):
    for count in (1, 2):
        assert all(len(written.tokens) == 20 for written in generate(run, prompt, max_tokens=20, count=count))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"temperature": -1.0}, "--temperature: must be 0 or more, got -1.0"),
        ({"top_k": -1}, "--top_k: must be 0 or more, got -1"),
        ({"top_p": 0.0}, "--top_p: must be above 0"),
        ({"max_tokens": 0}, "--max_tokens: must be 1 or more"),
        ({"count": 0}, "--count: must be 1 or more"),
        ({"seed": -1}, "--seed: must be 0 or more"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_one_line(run, options, problem):
    with pytest.raises(UserError, match=re.escape(problem)):
        generate(run, "9", **options)


def test_the_command_prints_the_prompt_and_the_text(run):
    written = generate(run, "99 green", max_tokens=30, count=2)
    done = run_script(Path(), "generate", run, "99 green", "--max_tokens", "30", "--count", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n---\n".join("99 green" + one.text for one in written) + "\n"


def test_the_command_prints_tokens_with_their_log_probabilities_as_json(run):
    args = ["brown", "--max_tokens", "4", "--count", "2", "--seed", "3", "--json"]
    done = run_script(Path(), "generate", run, *args)
    expected = generate(run, "brown", max_tokens=4, count=2, seed=3)
    assert json.loads(done.stdout) == [text._asdict() for text in expected]


def test_a_model_that_writes_no_text_is_one_line(folder):
    run = trained(["--trainer.max_epochs", "1", "--data.rows", "20"])
    done = run_script(folder, "generate", run, "text")
    assert done.returncode == 2
    assert re.fullmatch(r"error: \S+: Regression writes no text; train a language model with [^\n]*\n", done.stderr)


@pytest.mark.parametrize(
    "verb",
    [
        lambda run: project.predict(run, "rows.csv", Path("out.csv")),
        project.load,
    ],
    ids=["predict", "load"],
)
def test_what_predicts_rows_points_to_generate(run, verb):
    Path("rows.csv").write_text("a\n1\n")
    with pytest.raises(
        UserError, match=re.escape("a language model predicts no rows; continue texts with scripts/generate.py")
    ):
        verb(run)


@pytest.mark.slow
def test_a_run_is_evaluated_tuned_and_pruned_and_keeps_its_tokenizer(run, capsys):
    metrics = json.loads(Path(run, "metrics.json").read_text())
    found, rows = project.evaluate(run)
    assert found == pytest.approx({name: metrics[name] for name in found})
    assert found["test/bits_per_byte"] < 4
    assert rows > 0
    Path("other.txt").write_text(SONG.replace("green", "brown"), encoding="utf-8")
    tuned = project.finetune(run, args=["--data.path", "other.txt", "--trainer.max_epochs", "2"])
    assert tuned["test/bits_per_byte"] < project.evaluate(run, ["--data.path", "other.txt"])[0]["test/bits_per_byte"]
    assert "brown" in "".join(
        written.text for written in generate("last", SONG[:100].replace("green", "brown"), count=3)
    )
    assert project.prune(run, sparsity=0.5, args=["--trainer.max_epochs", "1"])["test/bits_per_byte"] < 5


def test_a_stage_that_needs_another_model_is_one_line(run):
    with pytest.raises(UserError, match="GPT has no layer whose units can be removed"):
        project.prune(run, structured=0.5)


@pytest.mark.slow
def test_a_student_on_another_text_has_the_tokenizer_of_its_teacher(folder):
    Path("song.txt").write_text(SONG, encoding="utf-8")
    Path("other.txt").write_text(SONG.replace("bottles", "barrels"), encoding="utf-8")
    bpe = [*ARGS, "--data.tokenizer", "bpe", "--data.vocab_size", "270", "--trainer.max_epochs", "1"]
    run = trained([*bpe, "--data.path", str(Path("song.txt").absolute())])
    smaller = ["--data.path", "other.txt", "--model.net.width", "16", "--model.net.layers", "1"]
    found = project.distill(run, args=smaller)
    assert found["student"].keys() >= found["teacher"].keys() >= {"test/bits_per_byte"}
    assert open_language_model("last")[1].to_dict() == open_language_model(run)[1].to_dict()


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_its_members(run):
    alone = json.loads(Path(run, "metrics.json").read_text())
    shutil.copytree(run, "copy")
    project.ensemble([run, "copy"])
    both = project.evaluate("last")[0]
    assert both == pytest.approx({name: alone[name] for name in both}, rel=1e-5)
    assert generate("last", "9", temperature=0, max_tokens=5)[0].tokens == [
        *generate(run, "9", temperature=0, max_tokens=5)[0].tokens
    ]
