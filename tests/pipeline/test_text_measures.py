"""How a pipeline scores language models, against torch."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from project.pipeline.report.measure import _frequency_loss, window_losses


def test_the_score_of_a_window_is_its_mean_loss_over_counted_tokens():
    logits, y = torch.randn(4, 6, 9) * 5, torch.randint(9, (4, 6))
    y[2, :4] = -100
    expected = [cross_entropy(rows, targets).item() for rows, targets in zip(logits, y, strict=True)]
    assert window_losses(logits.numpy(), y.numpy()) == pytest.approx(expected, rel=1e-5)


def test_the_constant_answer_of_a_text_is_how_often_each_token_occurs():
    tokens = np.array([0, 0, 0, 65_535], np.uint16).view(np.int16)  # as memory maps hold them
    y = np.array([[0, 1, -100]])
    assert _frequency_loss(tokens, y, 65_536) == pytest.approx(-np.log([4 / 65_540, 1 / 65_540]).mean())
