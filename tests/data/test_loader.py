import sys
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from project.data.batch_sampler import BatchSampler
from project.data.loader import Rows, row_loader
from project.runtime.errors import UserError


def batches(rows: int, batch_size: int, *, shuffle: bool, processes: int = 1, epoch: int = 0, seed: int = 0):
    """Row numbers of each batch of each process: [process][batch]."""
    taken = []
    for rank in range(processes):
        sampler = BatchSampler(rows, batch_size, shuffle=shuffle, seed=seed)
        sampler.num_replicas, sampler.rank, sampler.epoch = processes, rank, epoch
        found = [torch.arange(rows)[index].tolist() for index in sampler]
        assert len(found) == len(sampler)
        taken.append(found)
    return taken


sizes = {"rows": st.integers(4, 60), "batch_size": st.integers(1, 20), "processes": st.integers(1, 4)}


@settings(deadline=None)
@given(**sizes)
def test_evaluation_takes_every_row_exactly_once(rows, batch_size, processes):
    taken = [
        row for process in batches(rows, batch_size, shuffle=False, processes=processes) for b in process for row in b
    ]
    assert sorted(taken) == list(range(rows))


@settings(deadline=None)
@given(**sizes, epoch=st.integers(0, 3))
def test_processes_together_train_on_the_batches_of_one_process(rows, batch_size, processes, epoch):
    [alone] = batches(rows, batch_size * processes, shuffle=True, epoch=epoch)
    shares = batches(rows, batch_size, shuffle=True, processes=processes, epoch=epoch)
    assert len({len(share) for share in shares}) == 1, "a process with fewer steps would hang the others"
    for step, parts in enumerate(zip(*shares, strict=True)):
        together = [row for part in parts for row in part]
        assert len({len(part) for part in parts}) == 1, "unequal shares would weigh rows unequally"
        assert together == alone[step][: len(together)]
        assert len(alone[step]) - len(together) < processes
    left_out = rows - sum(len(part) for share in shares for part in share)
    assert left_out < processes


@pytest.mark.parametrize("rows", [2**18 + 1, 2**18 + 512, 400_000])
def test_a_large_epoch_is_a_permutation_in_which_neighbours_are_far_apart(rows):
    [order] = batches(rows, 5_000, shuffle=True)
    assert {len(batch) for batch in order[:-1]} == {5_000}
    order = torch.tensor([row for batch in order for row in batch])
    assert order.sort().values.equal(torch.arange(rows))
    place = order.argsort().double()
    ranks = torch.corrcoef(torch.stack([torch.arange(rows).double(), place]))[0, 1]
    assert abs(ranks) < 0.1, "Spearman's correlation of a row's place before and after"
    assert (place[1:] - place[:-1]).abs().median() > 10_000
    [following] = batches(rows, 5_000, shuffle=True, epoch=1)
    assert following[0] != order[:5_000].tolist()


@pytest.mark.parametrize("start", [0, 12_345])
def test_an_epoch_that_is_drawn_ahead_has_the_same_order(start):
    orders = []
    for ahead in (False, True):
        sampler = BatchSampler(400_000, 5_000, shuffle=True, ahead=ahead)
        sampler.start_at(start)
        orders.append(list(sampler))
    assert len(orders[0]) == len(orders[1])
    assert all(a.equal(b) for a, b in zip(*orders, strict=True))


def test_batches_of_rows_sorted_by_their_target_have_its_mean():
    rows, size = 2**20, 4_096
    target = torch.linspace(-1, 1, rows)  # of standard deviation 0.577
    sampler = BatchSampler(rows, size, shuffle=True)
    means = torch.stack([target[index].mean() for index in sampler])
    assert means.std() < 3 * 0.577 / size**0.5, "the spread of independent rows is 0.577 / sqrt(size)"


@settings(deadline=None)
@given(rows=st.integers(1, 60), batch_size=st.integers(1, 20), several=st.integers(2, 5), shuffle=st.booleans())
def test_items_of_several_batches_hold_the_same_batches(rows, batch_size, several, shuffle):
    x = torch.arange(float(rows))[:, None]
    alone = list(row_loader(Rows(x, -x), batch_size, shuffle=shuffle))
    items = list(row_loader(Rows(x, -x), batch_size, shuffle=shuffle, steps=several))
    together = [batch for item in items for batch in item]
    assert len(items) == -(-len(alone) // several)
    assert len(together) == len(alone)
    for (x_alone, y_alone), (x_together, y_together) in zip(alone, together, strict=True):
        assert x_alone.equal(x_together)
        assert y_alone.equal(y_together)


def test_order_depends_on_seed_and_epoch_alone():
    [first] = batches(50, 8, shuffle=True)
    torch.manual_seed(123)
    assert batches(50, 8, shuffle=True) == [first]
    assert batches(50, 8, shuffle=True, epoch=1) != [first]
    assert batches(50, 8, shuffle=True, seed=1) != [first]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_gives_whole_batches_of_matching_rows(workers):
    x = torch.arange(50.0)[:, None]
    loader = row_loader(Rows(x, 2 * x), batch_size=8, shuffle=True, num_workers=workers)
    found = list(loader)
    assert [len(batch[0]) for batch in found] == [8] * 6 + [2]
    assert torch.cat([batch[0] for batch in found]).flatten().sort().values.equal(x.flatten())
    assert all(batch[1].equal(2 * batch[0]) for batch in found)


def test_a_batch_is_two_gathers_and_no_python_per_row(monkeypatch):
    gathered = []
    gather = torch.Tensor.index_select
    monkeypatch.setattr(torch.Tensor, "index_select", lambda *a: gathered.append(1) or gather(*a))
    x = torch.zeros(1_000, 3)
    list(row_loader(Rows(x, x), batch_size=100, shuffle=True))
    assert len(gathered) == 2 * 10


def test_fewer_rows_than_processes_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    with pytest.raises(UserError, match="--trainer.devices: 3 rows cannot be shared by 4 processes; use at most 3"):
        BatchSampler(3, 1, shuffle=False)


class BrokenPipeRows(Rows):
    """Rows whose worker fails to send each batch."""

    def __getitem__(self, index):
        def fail() -> None:
            try:
                raise BrokenPipeError
            except BrokenPipeError:
                sys.excepthook(*sys.exc_info())  # as multiprocessing does in the thread that sends batches

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        return super().__getitem__(index)


def test_a_worker_prints_no_traceback_after_its_main_process_has_ended(capfd):
    x = torch.arange(16.0)[:, None]
    assert len(list(row_loader(BrokenPipeRows(x, x), batch_size=8, shuffle=False, num_workers=1))) == 2
    assert capfd.readouterr().err == ""
