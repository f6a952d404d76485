"""Frozen weights in 8 or 4 bits."""

import copy

import pytest
import torch
from torch import nn

from project.nets import MLP, LoRA
from project.nets.quantized import NORMAL_FLOAT, QuantizedLinear, dequantize, quantize
from tests.nets.test_gpt import CONTEXT, LLAMA, VOCABULARY, network, tokens

BITS = pytest.mark.parametrize("bits", [8, 4])


@BITS
@pytest.mark.parametrize("shape", [(6, 128), (5, 30), (4, 3), (1, 7)], ids=str)
def test_each_weight_becomes_the_nearest_value_of_its_block(bits, shape):
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = dequantize(*quantize(weight, bits), bits).view(shape)
    values = torch.arange(-127, 128) / 127 if bits == 8 else torch.tensor(NORMAL_FLOAT)
    size = {128: 64, 30: 2, 3: 1, 7: 1}[shape[1]]
    for block, result in zip(weight.reshape(-1, size), found.reshape(-1, size), strict=True):
        allowed = values.double() * block.abs().max()
        nearest = (block[:, None] - allowed).abs().min(1).values
        torch.testing.assert_close((block - result).abs(), nearest, rtol=0, atol=1e-6)


@BITS
def test_zeros_stay_zeros(bits):
    assert dequantize(*quantize(torch.zeros(2, 64), bits), bits).eq(0).all()


@BITS
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_what_its_weights_do_forwards_and_backwards(bits, bias):
    torch.manual_seed(0)
    layer = QuantizedLinear(nn.Linear(64, 10, bias), bits)
    plain, x = layer.dequantized(), torch.randn(2, 3, 64, requires_grad=True)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved):
        found = layer(x)
    assert sum(saved.numel() for saved in kept) == 0, "the weights are not kept for the backward pass"
    torch.testing.assert_close(found, plain(x))
    gradients = (torch.autograd.grad(outputs.square().sum(), x)[0] for outputs in (layer(x), plain(x)))
    torch.testing.assert_close(*gradients)


@BITS
@pytest.mark.parametrize("options", [{}, LLAMA], ids=["default", "llama"])
def test_adapters_over_quantized_weights_merge_into_numbers(bits, options):
    lora = LoRA((CONTEXT,), VOCABULARY, lambda *_: network(**options).float(), rank=2, bits=bits).eval()
    for weight in lora.up.values():
        nn.init.normal_(weight, std=0.1)
    x = tokens()
    learned = lora(x)
    assert not any(name.endswith(("query.weight", "down.weight")) for name in lora.net.state_dict())
    other = LoRA((CONTEXT,), VOCABULARY, lambda *_: network(**options).float(), rank=2, bits=bits).eval()
    other.load_state_dict(lora.state_dict())
    assert other(x).equal(learned)
    merged = copy.deepcopy(lora).merge()
    assert not any(isinstance(module, QuantizedLinear) for module in merged.modules())
    torch.testing.assert_close(merged(x), learned, rtol=1e-4, atol=1e-4)
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_bits_are_refused_for_other_nets():
    with pytest.raises(ValueError, match="bits are for a GPT, not for MLP"):
        LoRA((5,), 2, MLP, bits=8)
