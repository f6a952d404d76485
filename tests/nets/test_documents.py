"""Several documents in a window: each has the logits that it has alone."""

import pytest
import torch

from tests.nets.test_gpt import FAMILY, VOCABULARY, network, tokens


@FAMILY
@pytest.mark.parametrize("training", [False, True])
def test_documents_in_a_window_have_the_logits_of_each_alone(options, training):
    net, x = network(**options, checkpoint_activations=training).train(training), tokens()
    documents = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3, [0] * 12, [7] * 11 + [-1]])
    logits = net(torch.stack([x, documents], dim=1))
    for row in range(3):
        for number in documents[row].unique():
            alone = net(x[row, documents[row] == number][None])[0]
            torch.testing.assert_close(logits[row, documents[row] == number], alone)


def test_rows_are_tokens_with_or_without_documents():
    net = network()
    assert [net.accepts(shape) for shape in ((12,), (2, 12), (1,), (13,), (3, 12), (2, 2, 12))] == [True] * 3 + [
        False
    ] * 3
    assert net.out_features == VOCABULARY
