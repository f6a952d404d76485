"""Runs on dialogues: learned, tuned through adapters, taught which answer is better, resumed, and talked to."""

import json
from io import StringIO
from itertools import product
from pathlib import Path

import pytest
import torch

from project.exporting.export import export
from project.inference.chat import Chat, chat
from project.inference.generate import open_language_model
from project.inference.open_run import open_run
from project.nets import LoRA
from project.runs.checkpoint import load_run, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.finetune import finetune
from project.text.sampling import Sampling
from project.text.writing import Writing
from project.training.train import train
from tests.trained import trained

ROLES = ("user", "assistant")
COLOURS = ("red", "blue", "green", "black")
NET = ["--model.net.width", "32", "--model.net.layers", "1", "--model.net.heads", "2", "--model.net.dropout", "0.1"]
QUIET = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs"]
ARGS = ["--data", "DialogueDataModule", "--data.tokenizer", "bytes", "--data.context", "96"]
ARGS += ["--model", "LanguageModel", *NET]
ARGS += ["--data.batch_size", "4", "--optimizer", "MuonAdamW", *QUIET]
PAIRS = ["--data", "PreferenceDataModule", "--data.path", "pairs.jsonl", "--model", "DPO", "--optimizer.lr", "0.002"]


@pytest.fixture
def run(folder, tmp_path_factory):
    """A model that answers with the colour it was asked about, and ends its answers."""
    path: Path = tmp_path_factory.getbasetemp() / "talk.jsonl"
    talks = [(f"{one}?", f"It is {one}.", f"{two}?", f"It is {two}.") for one, two in product(COLOURS, COLOURS)] * 6
    lines = [{"messages": [{"role": r, "content": t} for r, t in zip(ROLES * 2, talk, strict=True)]} for talk in talks]
    path.write_text("\n".join(map(json.dumps, lines)))
    pairs = [{"prompt": f"{c}?", "chosen": f"It is {c}.", "rejected": "No."} for c in COLOURS * 10]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return trained([*ARGS, "20", "--data.path", str(path)])


def weights(reference: str) -> dict[str, torch.Tensor]:
    return read_checkpoint(find_checkpoint(reference))["state_dict"]


def test_a_run_answers_and_ends_its_answers(run):
    talk = Chat(*open_language_model(run), Writing(Sampling(0.0), 14), system="Be brief.")
    pieces: list[str] = []
    assert [talk.answer(f"{colour}?", pieces.append) for colour in COLOURS[:2]] == ["It is red.", "It is blue."]
    assert "".join(pieces) == "It is red.It is blue."
    assert [message["role"] for message in talk.messages] == ["system", "user", "assistant", "user", "assistant"]
    for _ in range(3):
        talk.answer("green?")
    assert talk.forgotten > 0
    assert talk.messages[0]["role"] == "system"
    with pytest.raises(UserError, match="the question has [0-9]+ tokens, more than the model's 96; shorten it"):
        talk.answer("?" * 100)


def test_a_pipe_is_answered_line_by_line(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", StringIO("red?\n\nblack?"))
    chat(run, Writing(Sampling(0.0), 40))
    assert capsys.readouterr() == ("It is red.\nIt is black.\n", "")


@pytest.mark.parametrize("lora", [pytest.param(None, marks=pytest.mark.slow), 2])
def test_dpo_teaches_which_answer_is_better_and_is_the_same_after_a_stop(run, folder, capsys, lora):
    args = [*PAIRS, *QUIET, "2", *(["--model.net.bits", "4"] if lora else [])]
    metrics = finetune(run, lora, args)
    assert metrics["test/accuracy"] == 1.0
    assert "Dialogues of pairs.jsonl: train 32" in capsys.readouterr().out
    whole = weights("last")
    finetune(run, lora, [*args, "--trainer.max_steps", "5"])
    train(["--ckpt_path", "last", "--trainer.max_steps", "-1"])
    resumed = weights("last")
    assert whole.keys() == resumed.keys()
    assert all(resumed[name].equal(value) for name, value in whole.items())
    opened = open_run("last")
    assert opened.trainer.test(opened.model, opened.datamodule, verbose=False)[0]["test/loss"] == pytest.approx(
        metrics["test/loss"]
    )


def test_flags_choose_scale_layers_and_bits_of_adapters(run, folder):
    flags = ["--model.net.alpha", "8", "--model.net.only", "[query, value]", "--model.net.bits", "8"]
    finetune(run, 2, [*PAIRS, *QUIET, "1", *flags])
    state = weights("last")
    adapted = {name.rpartition(".")[2] for name in state if name.startswith("net.net.down.")}
    assert {name.split("/")[-2] for name in adapted} == {"query", "value"}
    assert state["net.net.net.blocks.0.feed_forward.up.codes"].dtype == torch.int8
    tuned = open_run("last").model.net.net
    assert (tuned.scale, isinstance(tuned, LoRA)) == (4.0, True)
    # The weights that were adapted are those of the run, rounded.
    before = load_run(run).net.net.blocks[0].feed_forward.up.weight
    after = load_run("last").net.net.blocks[0].feed_forward.up.weight
    assert 0 < (before - after).abs().max() <= before.abs().max() / 127
    with pytest.raises(UserError, match="the adapters belong to weights of 8 bits; export the whole network"):
        export("last", folder / "adapter.safetensors", "adapter")


@pytest.mark.slow
def test_sft_is_the_same_after_a_stop(run):
    args = ["--data.path", "pairs.jsonl", "--data.prompt", "prompt", "--data.response", "rejected", *QUIET, "3"]
    finetune(run, 2, args)
    whole = weights("last")
    finetune(run, 2, [*args, "--trainer.max_steps", "4"])
    train(["--ckpt_path", "last", "--trainer.max_steps", "-1"])
    assert all(weights("last")[name].equal(value) for name, value in whole.items())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            [*PAIRS, "--model", "LanguageModel"],
            "--model LanguageModel: learns from no pairs; use --model DPO, or --data D",
        ),
        (["--model", "DPO"], "--model DPO: learns from pairs of answers; use --data PreferenceDataModule"),
    ],
)
def test_the_model_and_the_data_must_match(run, args, message):
    with pytest.raises(UserError, match=message):
        finetune(run, args=[*args, *QUIET, "1"])


def test_dpo_needs_a_reference(run):
    with pytest.raises(UserError, match=r"--model DPO: has no reference; run scripts/finetune.py with a trained run"):
        train([*PAIRS[:4], "--data.tokenizer", "bytes"])
