import os
import pickle
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import project.runs.folder
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError


@pytest.fixture
def checkpoint(default_run, tmp_path):
    return shutil.copy(default_run[0] / "checkpoints" / "best.ckpt", tmp_path / "copy.ckpt")


def test_a_checkpoint_alone_is_enough_to_predict(checkpoint):
    content = read_checkpoint(checkpoint)
    model = load_model(content)
    weights, bias = model.equation
    assert model(torch.tensor([[2.0]])).item() == pytest.approx((2 * weights + bias).item(), rel=1e-5)
    assert content["data"]["feature_names"] == ["x"]


def test_a_flipped_bit_anywhere_in_the_contents_is_noticed(checkpoint):
    good = checkpoint.read_bytes()
    with zipfile.ZipFile(checkpoint) as archive:
        members = archive.infolist()
    for member in members:
        name, extra = struct.unpack_from("<HH", good, member.header_offset + 26)
        bad = bytearray(good)
        bad[member.header_offset + 30 + name + extra + member.file_size // 2] ^= 1 << 3
        checkpoint.write_bytes(bad)
        with pytest.raises(UserError, match=r"copy.ckpt: (damaged|not a checkpoint)"):
            read_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "or a damaged one"),
        (lambda path: path.write_bytes(b""), "or a damaged one"),
        (lambda path: path.write_text("hello"), "not a checkpoint"),
        (lambda path: torch.save({"weights": torch.zeros(2)}, path), "not a checkpoint of this project"),
        (lambda path: torch.save(torch.nn.Linear(1, 1), path), "not a checkpoint of this project"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "not a checkpoint"),
    ],
)
def test_what_is_not_a_checkpoint_is_told_in_one_line(checkpoint, write, told):
    write(checkpoint)
    with pytest.raises(UserError, match=told) as caught:
        read_checkpoint(checkpoint)
    assert "copy.ckpt" in str(caught.value)


def test_last_is_the_newest_run_that_has_a_checkpoint(folder):
    with pytest.raises(UserError, match="no run in lightning_logs has a checkpoint"):
        find_checkpoint("last")
    for version in (0, 1):
        (folder / f"lightning_logs/version_{version}/checkpoints").mkdir(parents=True)
        (folder / f"lightning_logs/version_{version}/metrics.json").touch()
    older = folder / "lightning_logs/version_0/checkpoints/best.ckpt"
    older.touch()
    assert find_checkpoint("last").samefile(older)


def make_runs(folder, **finished):
    """Make runs, each newer than the one before, that are finished or not."""
    for time, (name, is_finished) in enumerate(finished.items(), start=1_000):
        run = folder / "lightning_logs" / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").touch()
        for file in ("best.ckpt", "last.ckpt"):
            (run / "checkpoints" / file).touch()
            os.utime(run / "checkpoints" / file, (time, time))
        if is_finished:
            (run / "metrics.json").touch()


def test_last_passes_over_runs_whose_training_has_not_ended_and_says_so(folder, capsys):
    make_runs(folder, version_0=True, version_1=True, version_2=False)
    assert find_checkpoint("last") == Path("lightning_logs/version_1/checkpoints/best.ckpt")
    told = "warning: skipped lightning_logs/version_2: its training has not ended; resume it with --ckpt_path\n"
    assert capsys.readouterr().err == told


def test_last_is_an_unfinished_run_where_a_run_is_resumed(folder, monkeypatch):
    make_runs(folder, version_0=True, version_1=False)
    monkeypatch.setattr("project.runs.checkpoint_io.verify", lambda path: None)
    assert find_checkpoint("last", "last.ckpt") == Path("lightning_logs/version_1/checkpoints/last.ckpt")


def test_last_is_no_run_if_none_has_ended(folder):
    make_runs(folder, version_0=False, version_1=False)
    with pytest.raises(UserError, match="last: lightning_logs/version_1: its training has not ended; resume .* folder"):
        find_checkpoint("last")


@pytest.mark.parametrize("reference", ["version_0", "version_0/checkpoints/best.ckpt"])
def test_an_unfinished_run_that_is_named_is_used_with_a_warning(folder, capsys, reference):
    make_runs(folder, version_0=False)
    for _ in range(2):
        assert find_checkpoint(f"lightning_logs/{reference}").name == "best.ckpt"
    assert capsys.readouterr().err.count("version_0: its training has not ended; resume it with --ckpt_path") <= 1


def test_a_terminal_is_told_once_which_run_is_last(folder, capsys, monkeypatch):
    make_runs(folder, version_0=True, version_1=True)
    for is_terminal, said in [(False, ""), (True, "last is lightning_logs/version_1\n")]:
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        project.runs.folder._print_newest.cache_clear()
        for _ in range(2):
            find_checkpoint("last")
        assert capsys.readouterr().err == said
