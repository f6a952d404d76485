"""Worker processes of loaders outlive signals, end with the training process, and never lose a batch in silence."""

import os
import signal

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from project.data.loader import Rows, row_loader
from project.data.plain import PlainDataModule
from project.data.workers import protect_workers
from project.runtime.errors import UserError
from project.runtime.signals import NAMES
from project.training.train import train

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "1"]


class Plain(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.arange(40.0)[:, None], torch.arange(40.0)[:, None]), 4, num_workers=2)


def loaders():
    x = torch.arange(40.0)[:, None]
    return {
        "rows": row_loader(Rows(x, x), 4, shuffle=False, num_workers=2),
        "plain": PlainDataModule(Plain(), seed=0).train_dataloader(),
        "nested": protect_workers({"a": [Plain().train_dataloader()]})["a"][0],
    }


@pytest.mark.parametrize("kind", ["rows", "plain", "nested"])
def test_workers_ignore_signals_from_others_than_their_parent(kind):
    batches = iter(loaders()[kind])
    seen = [next(batches)[0]]
    for worker in batches._workers:
        for name in NAMES:
            sender = os.fork()  # from this process itself they would come from the parent
            if sender == 0:
                os.kill(worker.pid, signal.Signals[name])
                os._exit(0)
            os.waitpid(sender, 0)
    seen += [x for x, _ in batches]
    assert torch.cat(seen)[:, 0].tolist() == list(range(40))


def test_a_worker_ends_when_its_parent_ends_it():
    batches = iter(loaders()["rows"])
    next(batches)
    worker = batches._workers[0]
    worker.terminate()
    worker.join(60)
    assert worker.exitcode == 0


def test_the_function_that_prepares_workers_and_batches_is_kept():
    def prepare(worker):
        torch.manual_seed(worker)

    def collate(samples):
        return torch.cat([x for x, _ in samples]) + torch.initial_seed()

    loader = DataLoader(TensorDataset(torch.zeros(4, 1), torch.zeros(4)), 2, num_workers=2)
    loader.worker_init_fn, loader.collate_fn = prepare, collate
    assert [batch.tolist() for batch in protect_workers(protect_workers(loader))] == [[0, 0], [1, 1]]


@pytest.mark.parametrize("data", ["stream", "rows"])
def test_a_table_trains_with_workers(folder, table, data):
    args = ["--data", "TabularDataModule", "--data.path", str(table(rows=100)), "--data.target", "y", *SHORT]
    args += ["--data.stream", "true"] if data == "stream" else []
    assert train([*args, "--data.num_workers", "1"])["test/mse"] == train(args)["test/mse"]


def test_no_room_for_the_batches_of_workers_is_one_line(folder, monkeypatch):
    def full(*_):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(UserError, match="--data.num_workers: /dev/shm is full"):
        train([*SHORT, "--data.num_workers", "1"])


def test_a_worker_that_is_stuck_is_given_up(folder, monkeypatch):
    monkeypatch.setattr("project.data.loader.WORKER_SECONDS", 1)
    monkeypatch.setattr(Rows, "gather", lambda *_: signal.pause())
    with pytest.raises(UserError, match="--data.num_workers: DataLoader timed out after 1 seconds; set it to 0"):
        train([*SHORT, "--data.num_workers", "1"])
