"""The tokenizer is part of a run: it is used again where the run is."""

import json

import yaml

from project.inference.open_run import open_run
from project.runs.checkpoint import DATA_KEY, read_checkpoint
from project.runs.folder import find_checkpoint
from project.stages.finetune import finetune
from project.training.train import train

ARGS = ["--data", "TextDataModule", "--data.path", "song.txt", "--data.context", "16", "--data.cache", "cache"]
ARGS += ["--data.vocab_size", "300", "--model", "LanguageModel", "--model.net.width", "16", "--model.net.layers", "1"]
ARGS += ["--model.net.heads", "1", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
SONG = "".join(f"{number} green bottles hanging on the wall, and {number - 1} left.\n" for number in range(300, 0, -1))


def test_a_run_keeps_its_tokenizer_for_another_text(folder, capsys):
    (folder / "song.txt").write_text(SONG)
    (folder / "other.txt").write_text(SONG.replace("green", "purple").replace("hanging", "standing"))
    train(ARGS)
    printed = capsys.readouterr().out
    assert "Text of song.txt: tokens train" in printed
    assert "bpe vocabulary of 300" in printed
    checkpoint = read_checkpoint(find_checkpoint("last"))
    [field] = checkpoint[DATA_KEY]["fields"]
    assert yaml.safe_load(checkpoint["config"])["data"]["init_args"]["path"] == str(folder / "song.txt")
    opened = open_run("last", ["--data.path", "other.txt"]).datamodule
    assert opened.tokenizer.to_dict() == field["tokenizer"]
    finetune("last", args=["--data.path", "other.txt"])
    assert read_checkpoint(find_checkpoint("last"))[DATA_KEY]["fields"] == [field]
    assert len(list((folder / "cache").glob("*.json"))) == 1, "one tokenizer was learned"


def test_a_tokenizer_of_somebody_else_travels_with_the_run(folder):
    from tokenizers import ByteLevelBPETokenizer

    (folder / "song.txt").write_text(SONG)
    library = ByteLevelBPETokenizer()
    library.train_from_iterator([SONG], vocab_size=290, special_tokens=["<|endoftext|>"], show_progress=False)
    library.save("theirs.json")
    train([*ARGS, "--data.tokenizer", "theirs.json"])
    expected = library.encode(SONG).ids
    (folder / "theirs.json").unlink()
    opened = open_run("last").datamodule
    assert opened.tokenizer.encode(SONG.encode()).tolist() == expected
    assert json.loads(opened.fields[0]["tokenizer"]["text"])["model"]["type"] == "BPE"
