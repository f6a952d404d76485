"""After a signal, a time limit or a lost process, trained weights are kept and the exit status shows the cause."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from project.runs.checkpoint import read_checkpoint
from project.runtime.errors import UserError
from project.runtime.signals import NAMES, SIGNALS, SignalListener, exit_on_signals
from project.training.cli import ExperimentCLI
from project.training.train import train
from project.training.trainer import PROCESS_TIMEOUT
from tests.command import MAX_LENGTH, Command, train_on
from tests.scripts.test_exact_resume import BASE, assert_same, ordered_event_files, state  # noqa: F401

ENDLESS = ["--data.rows", "500", "--trainer.max_epochs", "1000000", "--epoch_line.every_n_epochs", "1"]
DDP = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]


def wait_for(condition, seconds=MAX_LENGTH):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)
    return found


def trained(folder):
    """Return whether a run in a folder has been saved twice."""
    return list(folder.glob("lightning_logs/*/checkpoints/previous.ckpt"))


def children(pid) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def catches(pid, number) -> bool:
    """Whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def ended(pid) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    "name",
    ["SIGTERM", "SIGINT", "SIGXCPU", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[2:5])],
)
def test_a_signal_stops_training_after_saving_a_checkpoint(folder, name):
    command = Command(folder, "train", *ENDLESS)
    wait_for(lambda: trained(folder))
    os.kill(command.pid, signal.Signals[name])
    done = command.finish()
    assert done.returncode == 128 + signal.Signals[name]
    assert re.fullmatch(
        rf"stopped by {name} after step \d+; resume with --ckpt_path lightning_logs/version_0\n", done.stderr
    )
    step = int(re.search(r"step (\d+)", done.stderr)[1])
    assert read_checkpoint(folder / "lightning_logs/version_0/checkpoints/last.ckpt")["global_step"] == step


def test_a_signal_to_the_process_group_stops_training_with_workers(folder):
    command = Command(folder, "train", *ENDLESS, "--data.num_workers", "2")
    wait_for(lambda: trained(folder))
    workers = children(command.pid)
    os.killpg(command.pid, signal.SIGTERM)
    done = command.finish()
    assert done.returncode == 143
    assert re.fullmatch(r"stopped by SIGTERM after step \d+; resume with .*\n", done.stderr), done.stderr
    wait_for(lambda: all(map(ended, workers)))
    assert read_checkpoint(folder / "lightning_logs/version_0/checkpoints/last.ckpt")["global_step"] > 0


def test_signals_that_are_ignored_stay_ignored():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for a command in the background
        with exit_on_signals():
            listener = SignalListener()
            listener.start()
            ignored = {number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN}
            assert ignored == {signal.SIGHUP, signal.SIGINT}
            listener.stop()
            assert {number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN} == ignored
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_second_interrupt_stops_immediately(folder, monkeypatch):
    command = Command(folder, "train", *ENDLESS)
    wait_for(lambda: trained(folder))
    os.kill(command.pid, signal.SIGSTOP)  # both signals arrive before a step can finish
    os.kill(command.pid, signal.SIGINT)
    os.kill(command.pid, signal.SIGCONT)
    os.kill(command.pid, signal.SIGINT)
    assert command.finish().returncode in (-signal.SIGINT, 128 + signal.SIGINT)


def test_a_killed_run_is_resumed_from_its_last_epoch(folder):
    args = [*BASE, "--trainer.max_epochs", "60"]
    train(args)
    command = Command(folder, "train", *args)
    wait_for(lambda: (folder / "lightning_logs/version_1/checkpoints/previous.ckpt").exists())
    os.kill(command.pid, signal.SIGKILL)
    assert command.finish().returncode == -signal.SIGKILL
    before = read_checkpoint(folder / "lightning_logs/version_1/checkpoints/last.ckpt")["global_step"]
    assert 0 < before < 240
    time.sleep(1)  # TensorBoard sorts event files by second
    train(["--ckpt_path", "last"])
    assert_same(state(folder / "lightning_logs/version_0"), state(folder / "lightning_logs/version_1"))


@pytest.mark.parametrize("flags", ["max_time", "callbacks Timer --trainer.callbacks.duration"])
def test_a_time_limit_stops_between_two_steps_without_ending_the_epoch(folder, monkeypatch, capsys, flags):
    clock = itertools.count(step=0.01)  # each look at the clock takes 0.01 s
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", SimpleNamespace(monotonic=lambda: next(clock)))
    args = ["--data.rows", "20000", "--data.features", "20", "--data.batch_size", "8", "--trainer.max_epochs", "3"]
    metrics = train([*args, *f"--trainer.{flags} 00:00:00:01".split()])
    saved = read_checkpoint(folder / "lightning_logs/version_0/checkpoints/last.ckpt")
    assert 0 < saved["global_step"] < 2_500
    assert saved["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] == 0
    assert saved["SyntheticDataModule"]["rows"] == 8 * saved["global_step"]
    assert metrics["test/mse"] > 0
    assert metrics["train/loss"] > 0
    with pytest.raises(UserError, match="no step was trained"):
        train(["--ckpt_path", "last"])


def test_a_run_cannot_be_trained_by_two_processes_at_once(folder):
    command = Command(folder, "train", *ENDLESS)
    wait_for(lambda: trained(folder))
    with pytest.raises(UserError, match="version_0: locked by another process"):
        train(["--ckpt_path", "last"])
    os.kill(command.pid, signal.SIGTERM)
    assert command.finish().returncode == 143
    assert read_checkpoint(folder / "lightning_logs/version_0/checkpoints/last.ckpt")["global_step"] > 0


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_and_they_resume_exactly(folder):
    args = [*BASE, "--data.batch_size", "5", "--trainer.max_epochs", "25"]
    args += ["--model.net", "MLP", "--model.net.hidden", "[4]", "--model.net.dropout", "0.3"]
    done = train_on(folder, 2, *args)
    assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
    command = Command(folder, "train", *args, *DDP)
    wait_for(lambda: (folder / "lightning_logs/version_1/checkpoints/last.ckpt").exists())
    [other] = children(command.pid)
    os.kill(command.pid, signal.SIGTERM)
    stopped = command.finish()
    assert stopped.returncode == 143, stopped.stderr
    assert stopped.stderr.count("stopped by SIGTERM") == 1
    wait_for(lambda: ended(other))
    assert 0 < read_checkpoint(folder / "lightning_logs/version_1/checkpoints/last.ckpt")["global_step"] < 100
    done = train_on(folder, 2, "--ckpt_path", "last")
    assert [rank.returncode for rank in done] == [0, 0], done[0].stderr
    assert_same(state(folder / "lightning_logs/version_0"), state(folder / "lightning_logs/version_1"))


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["first", "other"])
def test_a_lost_process_ends_the_job(folder, lost):
    command = Command(folder, "train", *ENDLESS, *DDP)
    wait_for(lambda: trained(folder))
    [other] = children(command.pid)
    os.kill(command.pid if lost == "first" else other, signal.SIGKILL)
    done = command.finish()
    wait_for(lambda: ended(other))
    if lost == "other" and done.returncode != -signal.SIGKILL:  # by Lightning's observer, which looks every 5 s
        assert done.returncode == 2
        message = r"error: a training process ended or does not answer \(.*\); resume with --ckpt_path .*\n"
        assert re.fullmatch(message, done.stderr)


IMPATIENT = """
from datetime import timedelta
from lightning.pytorch import Callback
from torch.distributed import distributed_c10d

class Impatient(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 3:  # both processes have started, however long that took
            distributed_c10d._set_pg_timeout(timedelta(seconds=5))
"""


@pytest.mark.slow
def test_a_process_that_does_not_respond_ends_the_job_after_the_timeout(folder):
    (folder / "impatient.py").write_text(IMPATIENT)
    own = ["--trust", "impatient", "--trainer.callbacks", "impatient.Impatient"]
    command = Command(folder, "train", *ENDLESS, *DDP, *own)
    wait_for(lambda: "Epoch [4/" in command.stdout)
    [other] = children(command.pid)
    os.kill(other, signal.SIGSTOP)
    done = command.finish()
    assert done.returncode == 2
    assert "does not answer" in done.stderr
    wait_for(lambda: ended(other))


def test_a_timeout_set_by_the_user_is_kept(folder):
    own = ["--trainer.strategy", "DDPStrategy", "--trainer.strategy.timeout", "00:00:05"]
    for args, timeout in ((DDP, PROCESS_TIMEOUT), ([*DDP, *own], timedelta(seconds=5))):
        assert ExperimentCLI([*args, "--trainer.logger", "false"]).trainer.strategy._timeout == timeout


SLOW_TEST = """
import time
from lightning import Callback

class SlowTest(Callback):
    def on_test_batch_end(self, *_):
        print("is testing", flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_before_or_after_training_stops_the_command_without_a_traceback(folder, name):
    before = Command(folder, "train", "--data.rows", "2000000", "--data.features", "10", "--trainer.max_epochs", "1")
    wait_for(lambda: catches(before.pid, signal.SIGTERM))  # all handlers are set together
    os.kill(before.pid, signal.Signals[name])
    done = before.finish()
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.Signals[name], "", f"stopped by {name}\n")
    assert list(folder.glob("lightning_logs/*")) == []
    (folder / "slow_test.py").write_text(SLOW_TEST)
    own = ["--trust", "slow_test", "--trainer.callbacks", "slow_test.SlowTest"]
    after = Command(folder, "train", "--trainer.max_epochs", "1", "--data.num_workers", "1", *own)
    wait_for(lambda: "is testing" in after.stdout)
    os.kill(after.pid, signal.Signals[name])
    done = after.finish()
    assert (done.returncode, done.stderr) == (128 + signal.Signals[name], f"stopped by {name}\n")


def test_a_thread_that_loses_a_worker_during_shutdown_prints_no_traceback(folder):
    code = """
import os, signal, sys, threading
from project.runtime.errors import exit_on_user_error
def lose():
    try:
        raise ConnectionResetError
    except ConnectionResetError:
        sys.excepthook(*sys.exc_info())  # as the resource-sharing threads of multiprocessing do
with exit_on_user_error():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        thread = threading.Thread(target=lose)
        thread.start()
        thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "stopped by SIGTERM\n")


def test_a_failing_cleanup_does_not_hide_the_signal(folder):
    code = """
import os, signal
from project.runtime.errors import exit_on_user_error
with exit_on_user_error():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        raise RuntimeError  # as Lightning does when its loops are half torn down
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "stopped by SIGTERM\n")


@pytest.mark.parametrize("seconds", ["60", "0"])
@pytest.mark.parametrize("ignores", ["object.__del__", "weakref.ref"])
def test_a_signal_in_a_finalizer_ends_the_process(folder, ignores, seconds):
    code = """
import os, signal, sys, time, weakref
from project.runtime.errors import exit_on_user_error
class Object:
    if "__del__" in sys.argv[1]:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
with exit_on_user_error():
    thing = Object()
    watch = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM)) if "weak" in sys.argv[1] else None
    del thing
    if sys.argv[2] != "0":
        time.sleep(float(sys.argv[2]))
        print("not stopped")
"""
    done = subprocess.run([sys.executable, "-c", code, ignores, seconds], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "stopped by SIGTERM\n")
