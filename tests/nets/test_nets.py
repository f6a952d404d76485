import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from project.nets import CNN, MLP, RNN, EncoderDecoder, Linear, TableNet, Transformer
from project.nets.scaling import Standardized
from project.nets.transformer import Attention, positions

NETS = {
    "linear": (lambda: Linear((6,), 3), (6,)),
    "mlp": (lambda: MLP((6,), 3, hidden=[8, 4], activation="Tanh"), (6,)),
    "mlp without hidden layers": (lambda: MLP((6,), 3, hidden=[]), (6,)),
    "table net": (lambda: TableNet((6,), 3, levels=[0, 4, 0, 2, 1]), (6,)),
    "table net of categories": (lambda: TableNet((6,), 3, levels=[5, 3]), (6,)),
    "cnn": (lambda: CNN((2, 7, 5), 3, channels=[4, 8], hidden=16), (2, 7, 5)),
    "residual": (lambda: CNN((2, 7, 5), 3, channels=[4, 8], hidden=16, residual=1), (2, 7, 5)),
    "rnn": (lambda: RNN((9, 2), 3, cell="rnn"), (9, 2)),
    "lstm, two layers": (lambda: RNN((9, 2), 3, cell="lstm", layers=2), (9, 2)),
    "gru, both directions": (lambda: RNN((9, 2), 3, cell="gru", bidirectional=True), (9, 2)),
    "transformer": (lambda: Transformer((9, 2), 3), (9, 2)),
    "transformer, not causal": (lambda: Transformer((9, 2), 3, causal=False), (9, 2)),
    "encoder-decoder": (lambda: EncoderDecoder((9, 2), 3), (9, 2)),
}
SEQUENCES = [name for name, (_, shape) in NETS.items() if len(shape) == 2]


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_takes_part_and_rows_do_not_mix(name):
    torch.manual_seed(0)
    build, shape = NETS[name]
    net = build()
    x = torch.randn(5, *shape)
    for layer in [layer for name, layer in net.named_modules() if name in ("linear", "head")]:
        nn.init.normal_(layer.weight)  # of which some start at zero
    net(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())
    net.eval()
    assert net(x).shape == (5, 3)
    torch.testing.assert_close(torch.cat([net(row[None]) for row in x]), net(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_a_wrong_shape_is_an_error_that_says_what_the_net_expects(name):
    build, shape = NETS[name]
    net = Standardized(build(), (), ())
    with pytest.raises(ValueError, match=r"rows must have shape"):
        net(torch.randn(4, *shape[:-1], shape[-1] + 1))
    with pytest.raises(ValueError, match=r"rows must have shape"):
        net(torch.randn(4, *shape, 1))


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("length", [1, 30])
def test_sequences_of_other_lengths_pass(name, length):
    assert Standardized(NETS[name][0](), (2,), ())(torch.randn(4, length, 2)).shape == (4, 3)


@settings(max_examples=20, deadline=None)
@given(channels=st.integers(1, 3), height=st.integers(1, 20), width=st.integers(1, 20), batch=st.integers(1, 3))
def test_cnn_takes_images_of_any_size(channels, height, width, batch):
    net = CNN((channels, height, width), 2, channels=[3, 3, 3], hidden=4).eval()
    assert net(torch.randn(batch, channels, height, width)).shape == (batch, 2)


@pytest.mark.parametrize("net", [CNN, RNN, Transformer, EncoderDecoder])
def test_rows_of_another_kind_are_refused_with_the_mend(net):
    with pytest.raises(ValueError, match=f"{net.__name__}: rows must be .*, got shape .*--model.net MLP"):
        net((4,), 1)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_equals_torchs_multihead_attention(causal):
    torch.manual_seed(0)
    ours, theirs = Attention(8, 2, causal), nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.in_proj_weight.data = torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]).detach()
    theirs.in_proj_bias.data = torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]).detach()
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(3, 5, 8)
    mask = torch.ones(5, 5).triu(1).bool() if causal else None
    torch.testing.assert_close(ours(x, x), theirs(x, x, x, attn_mask=mask, need_weights=False)[0])


def test_a_causal_encoder_sees_no_later_step_and_another_does():
    x, later = torch.randn(2, 9, 2), torch.randn(2, 4, 2)
    changed = torch.cat([x[:, :5], later], dim=1)
    causal, full = Transformer((9, 2), 1), Transformer((9, 2), 1, causal=False)
    torch.testing.assert_close(causal.encode(x)[:, :5], causal.encode(changed)[:, :5])
    assert not torch.allclose(full.encode(x)[:, :5], full.encode(changed)[:, :5])


@pytest.mark.parametrize("width", [1, 7, 32])
def test_positions_follow_the_paper_at_every_place(width):
    found = positions(3, 50, width, torch.zeros(1))
    for place in (0, 1, 49):
        for i in range(width):
            angle = torch.tensor((3 + place) / 10_000 ** (2 * (i // 2) / width))
            expected = angle.cos() if i % 2 else angle.sin()
            assert found[place, i].item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_training_batch_of_one_pixel_says_what_to_do():
    net = CNN((1, 2, 2), 3, channels=[4, 4])
    with pytest.raises(ValueError, match="change --data.batch_size"):
        net(torch.randn(1, 1, 2, 2))
    assert net.eval()(torch.randn(1, 1, 2, 2)).shape == (1, 3)
    assert CNN((1, 8, 8), 3)(torch.randn(1, 1, 8, 8)).shape == (1, 3)


def test_order_matters_to_a_transformer():
    net, x = Transformer((6, 1), 1, causal=False), torch.randn(1, 6, 1)
    assert not torch.allclose(net(x), net(x.flip(1)))


@pytest.mark.parametrize(
    "build",
    [
        lambda: MLP((3,), 1, hidden=[0]),
        lambda: MLP((3,), 1, dropout=1.0),
        lambda: TableNet((3,), 1, blocks=0),
        lambda: CNN((1, 4, 4), 1, channels=[0]),
        lambda: RNN((4, 1), 1, hidden=0),
        lambda: Transformer((4, 1), 1, width=6, heads=4),
    ],
)
def test_impossible_sizes_are_errors(build):
    with pytest.raises(ValueError, match=r"must be (1 or more|in \[0, 1\)|a multiple of heads)"):
        build()
