"""Checkpoints through kills, crashes, full disks and flipped bits."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from project.runs.checkpoint_io import TEMPORARY, VerifiedCheckpointIO, sweep, verify
from project.runtime.errors import UserError, is_machine_error
from tests.command import MAX_LENGTH, REPOSITORY, forks

IO = VerifiedCheckpointIO()
OLD, NEW = {"version": 1, "weights": torch.zeros(40_000)}, {"version": 2, "weights": torch.ones(40_000)}


def version(path) -> int:
    return IO.load_checkpoint(path)["version"]


def test_what_is_saved_is_loaded_as_plain_torch_would(tmp_path):
    IO.save_checkpoint(NEW, tmp_path / "new" / "a.ckpt")
    found = torch.load(tmp_path / "new" / "a.ckpt", weights_only=True)
    assert found["version"] == 2
    assert found["weights"].equal(IO.load_checkpoint(tmp_path / "new" / "a.ckpt")["weights"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.ckpt"]


def test_one_flipped_bit_is_noticed_400_times_of_400(tmp_path):
    path, draw = tmp_path / "a.ckpt", random.Random(0)
    IO.save_checkpoint({"weights": torch.randn(50), "config": "x: 1"}, path)
    good = path.read_bytes()
    for _ in range(400):
        bad = bytearray(good)
        bad[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(UserError, match=r"a.ckpt: not a checkpoint of this project, or a damaged one"):
            verify(path)


def test_a_file_cut_off_anywhere_is_noticed(tmp_path):
    path = tmp_path / "a.ckpt"
    IO.save_checkpoint({"weights": torch.randn(5)}, path)
    good = path.read_bytes()
    for length in [*range(0, len(good), 37), len(good) - 1]:
        path.write_bytes(good[:length])
        with pytest.raises(UserError, match="damaged"):
            verify(path)


CRASH = """
import os, sys, torch
from project.runs.checkpoint_io import VerifiedCheckpointIO
path, last = sys.argv[1], int(sys.argv[2])
seen = 0
def crash(event, arguments):
    global seen
    if armed and (event in ("open", "os.rename", "os.remove", "os.link", "os.mkdir") or event.startswith("shutil")):
        seen += 1
        if seen == last:
            os._exit(9)
armed = False
sys.addaudithook(crash)
checkpoint = {"version": 2, "weights": torch.ones(40_000)}
fsync = os.fsync
def crash_at_fsync(number):
    crash("open", ())
    fsync(number)
    crash("open", ())
os.fsync = crash_at_fsync
for count in range(1, 30):
    pid = os.fork()
    if pid == 0:
        last, armed = count, True
        VerifiedCheckpointIO().save_checkpoint(checkpoint, path)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    found = VerifiedCheckpointIO().load_checkpoint(path)["version"]
    print(count, os.waitstatus_to_exitcode(status), found, flush=True)
    if os.waitstatus_to_exitcode(status) == 0:
        break
    VerifiedCheckpointIO().save_checkpoint({"version": 1, "weights": torch.zeros(40_000)}, path)
"""


@pytest.mark.slow
def test_a_crash_at_any_file_operation_of_a_save_leaves_the_old_or_the_new_one(tmp_path):
    IO.save_checkpoint(OLD, tmp_path / "a.ckpt")
    done = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path / "a.ckpt"), "0"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=MAX_LENGTH,
    )
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert len(lines) > 5
    assert [code for _, code, _ in lines] == [9] * (len(lines) - 1) + [0]
    versions = [found for *_, found in lines]
    assert versions == sorted(versions), "the old one up to some operation, and the new one from there"
    assert versions[0] == 1
    assert versions[-1] == 2


def save_forever(path, number, told, temporary_folder):
    os.environ["TMPDIR"] = temporary_folder
    while True:
        number += 1
        IO.save_checkpoint({"version": number, "weights": torch.full((200_000,), float(number))}, path)
        told.send(number)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same filesystem", "TMPDIR on another"])
@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_no_kill_while_saving_loses_or_damages_a_checkpoint(tmp_path, elsewhere, kills):
    other = "/dev/shm" if elsewhere and Path("/dev/shm").is_dir() else str(tmp_path)
    path, draw, saved = tmp_path / "a.ckpt", random.Random(0), 0
    for _ in range(kills):
        listens, tells = forks().Pipe(duplex=False)
        saver = forks().Process(target=save_forever, args=(path, saved, tells, other))
        saver.start()
        tells.close()
        told = listens.recv()
        time.sleep(draw.uniform(0, 0.02))
        saver.kill()
        saver.join()
        with contextlib.suppress(EOFError):
            while True:
                told = listens.recv()
        found = version(path)
        assert found >= told > saved, "what was said to be saved is there"
        saved = found
        sweep(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.ckpt"]


def save_beyond_a_limit(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    try:
        IO.save_checkpoint(NEW, path)
    except UserError as error:
        sys.exit(7 if "could not be written" in str(error) and "\n" not in str(error) else 8)


def test_a_disk_that_takes_no_more_leaves_the_checkpoint_before(tmp_path):
    path = tmp_path / "a.ckpt"
    IO.save_checkpoint({"version": 1}, path)
    saver = forks().Process(target=save_beyond_a_limit, args=(path,))
    saver.start()
    saver.join()
    assert saver.exitcode == 7
    assert version(path) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted by the administrator alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_in_one_line_and_leaves_the_checkpoint_before(small_disk):
    path = small_disk / "a.ckpt"
    IO.save_checkpoint({"version": 1}, path)
    with pytest.raises(UserError, match=r"a.ckpt: could not be written, with \d MiB free on its disk") as caught:
        IO.save_checkpoint({"version": 2, "weights": torch.zeros(10**6)}, path)
    assert "\n" not in str(caught.value)
    assert is_machine_error(caught.value), "a problem of the machine: exit status 1"
    assert version(path) == 1
    assert [entry.name for entry in small_disk.iterdir()] == ["a.ckpt"]


def test_nothing_but_plain_data_is_read_whatever_the_environment_asks(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    IO.save_checkpoint({"module": torch.nn.Linear(1, 1)}, tmp_path / "a.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        IO.load_checkpoint(tmp_path / "a.ckpt", weights_only=False)


def test_leftovers_are_swept(tmp_path):
    (tmp_path / f"last.ckpt{TEMPORARY}").write_bytes(b"half")
    (tmp_path / "last.ckpt").write_bytes(b"whole")
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
