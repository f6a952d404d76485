"""Muon and AdamW as one optimizer."""

import pytest
import torch
from torch import nn

from project.models.muon import MuonAdamW, orthogonalize


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in [(4, 6), (5, 3), (7,), (2, 3, 4)]]


def descend(optimizer, values, steps: int = 4) -> None:
    for step in range(steps):
        for value in values:
            value.grad = (value.detach() * 1.5 + step).sin()
        optimizer.step()


def test_each_part_is_trained_by_its_own_optimizer():
    ours, theirs = parameters(), parameters()
    groups = [{"params": [ours[0], ours[2]]}, {"params": [ours[1], ours[3]], "muon": False, "weight_decay": 0.5}]
    descend(MuonAdamW(groups, lr=0.03, adamw_lr=0.004, weight_decay=0.1), ours)
    descend(torch.optim.Muon(theirs[:1], lr=0.03, weight_decay=0.1), theirs)
    descend(torch.optim.AdamW(theirs[2:3], lr=0.004, betas=(0.9, 0.95), weight_decay=0.1), theirs)
    descend(torch.optim.AdamW([theirs[1], theirs[3]], lr=0.004, betas=(0.9, 0.95), weight_decay=0.5), theirs)
    assert all(a.equal(b) for a, b in zip(ours[1:], theirs[1:], strict=True))
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0.002)  # theirs computes in bfloat16


@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 9, 5), (1, 1, 7), (2, 32, 32)])
def test_orthogonalized_matrices_keep_their_singular_vectors(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, before = (
        torch.linalg.svd(orthogonalize(matrices), full_matrices=False),
        torch.linalg.svd(matrices, full_matrices=False),
    )
    assert (found.S > 0.3).all()
    assert (found.S < 1.3).all()
    aligned = before.U.mT @ orthogonalize(matrices) @ before.Vh.mT  # diagonal, with the new singular values
    torch.testing.assert_close(aligned, torch.diag_embed(aligned.diagonal(dim1=1, dim2=2)), rtol=0, atol=1e-9)


def test_a_matrix_moves_by_the_learning_rate_whatever_the_size_of_its_gradient():
    moved = []
    for size in (1e-3, 1e3):
        value = nn.Parameter(torch.zeros(6, 3))
        value.grad = size * torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
        MuonAdamW([value], lr=0.1, weight_decay=0.0).step()
        moved.append(value.detach().clone())
    torch.testing.assert_close(moved[0], moved[1])
    assert 0.1 * 0.6 < torch.linalg.matrix_norm(moved[0], 2) / 2**0.5 < 0.1 * 1.3  # 2 = rows / columns


def test_plain_parameters_are_divided_by_their_shape():
    optimizer = MuonAdamW(parameters())
    assert [(group["muon"], len(group["params"])) for group in optimizer.param_groups] == [(True, 2), (False, 2)]


@pytest.mark.parametrize("which", [[0, 1], [2, 3]], ids=["matrices", "others"])
def test_one_kind_alone_is_trained(which):
    values = [parameters()[number] for number in which]
    before = [value.detach().clone() for value in values]
    descend(MuonAdamW(values), values)
    assert not any(a.equal(b) for a, b in zip(before, values, strict=True))


def test_a_loaded_state_continues_bitwise(tmp_path):
    whole, part = parameters(), parameters()
    optimizer = MuonAdamW(whole)
    descend(optimizer, whole, 3)
    first = MuonAdamW(part)
    descend(first, part, 3)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = MuonAdamW(part, lr=1.0)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    descend(optimizer, whole)
    descend(second, part)
    assert all(a.equal(b) for a, b in zip(whole, part, strict=True))


def test_schedules_scale_both_learning_rates():
    optimizer = MuonAdamW(parameters(), lr=0.02, adamw_lr=0.004)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.002]


def test_the_closure_is_called_once_and_its_loss_is_returned():
    values, calls = parameters(), []

    def closure():
        calls.append(1)
        loss = sum(value.square().sum() for value in values)
        loss.backward()
        return loss.detach()

    assert MuonAdamW(values).step(closure) > 0
    assert len(calls) == 1
