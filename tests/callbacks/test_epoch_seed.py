from itertools import product
from types import SimpleNamespace

import torch

from project.callbacks import EpochSeed


def draw(seed, epoch, rank=0, world_size=2):
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=world_size)
    EpochSeed(seed).on_train_epoch_start(trainer, SimpleNamespace())
    return torch.rand(1).item()


def test_numbers_do_not_depend_on_what_was_drawn_before():
    first = draw(7, 3)
    torch.rand(5)
    assert draw(7, 3) == first


def test_every_seed_epoch_and_process_draws_other_numbers():
    assert len({draw(*choice) for choice in product(range(5), range(5), range(2))}) == 50
