"""The GPT: causality, cache, grouped heads, and an independent network with the same weights."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from project.nets.cache import Cache
from project.nets.gpt import GPT
from project.nets.rotary import rotate, rotations
from project.nets.scaling import Standardized

CONTEXT, VOCABULARY = 12, 17
GPT2 = {"positions": "learned", "norm": "layer", "bias": True, "qk_norm": False, "feed_forward": "gelu", "tied": True}
LLAMA = {"feed_forward": "swiglu", "qk_norm": False, "kv_heads": 2}
FAMILIES = {"default": {}, "gpt2": GPT2, "llama": LLAMA, "one kv head": {"kv_heads": 1, "tied": True}}
FAMILIES |= {"window": {"window": 8}, "wide heads": {"head_width": 6, "qkv_bias": True}}
FAMILY = pytest.mark.parametrize("options", FAMILIES.values(), ids=FAMILIES.keys())


def network(**options) -> GPT:
    """A network in float64 none of whose weights is 0."""
    torch.manual_seed(0)
    net = GPT((CONTEXT,), VOCABULARY, **{"width": 16, "layers": 2, "heads": 4, "zero_init": False} | options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, mean=0.2, std=0.3)
    return net.double().eval()


def tokens(batch: int = 3, length: int = CONTEXT) -> torch.Tensor:
    return torch.randint(VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(1))


@FAMILY
def test_a_later_token_changes_no_earlier_logits(options):
    net, x = network(**options), tokens()
    for place in range(1, CONTEXT):
        changed = x.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCABULARY
        before, after = net(x), net(changed)
        assert before[:, :place].equal(after[:, :place])
        assert not before[:, place:].isclose(after[:, place:]).all(2).any()


@torch.no_grad()
@FAMILY
@pytest.mark.parametrize("pieces", [[1] * CONTEXT, [5, 1, 4, 2], [CONTEXT]], ids=str)
def test_logits_with_a_cache_are_those_without(options, pieces):
    net, x = network(**options), tokens()
    cache = Cache(net, batch=len(x))
    logits = torch.cat([net(piece, cache) for piece in x.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(logits, net(x), rtol=0, atol=1e-12)
    assert cache.length == CONTEXT


def test_grouped_heads_are_heads_with_repeated_keys_and_values():
    grouped, x = network(kv_heads=2), tokens()
    full = network()
    state = grouped.state_dict()
    for name in state:
        if ".key.weight" in name or ".value.weight" in name:
            state[name] = state[name].unflatten(0, (2, -1)).repeat_interleave(2, dim=0).flatten(0, 1)
    full.load_state_dict(state)
    torch.testing.assert_close(grouped(x), full(x), rtol=0, atol=1e-12)


def test_the_family_of_gpt2_is_torchs_encoder_with_a_causal_mask():
    net, x = network(**GPT2), tokens()
    reference = (net.embedding.weight[x] + net.positions.weight[:CONTEXT]).detach()
    mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT, dtype=torch.float64)
    for block in net.blocks:
        layer = nn.TransformerEncoderLayer(
            16, 4, 64, 0.0, lambda x: functional.gelu(x, approximate="tanh"), batch_first=True, norm_first=True
        ).double()
        attention, parts = block.attention, (block.attention.query, block.attention.key, block.attention.value)
        state = {
            "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
            "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
        }
        modules = {
            "self_attn.out_proj": attention.out,
            "linear1": block.feed_forward.up,
            "linear2": block.feed_forward.down,
            "norm1": block.attention_norm,
            "norm2": block.feed_forward_norm,
        }
        for name, module in modules.items():
            state |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
        layer.load_state_dict(state)
        reference = layer.eval()(reference, src_mask=mask, is_causal=True)
    reference = functional.layer_norm(reference, (16,), net.norm.weight, net.norm.bias) @ net.embedding.weight.T
    torch.testing.assert_close(net(x), reference, rtol=1e-9, atol=1e-9)


def by_hand(net: GPT, x: list[int]) -> torch.Tensor:
    """Logits of the last token, in loops over positions and heads, with complex numbers for the rotations."""
    head, weights = 4, net.state_dict()
    norm = lambda v, w: v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w  # noqa: E731
    rows = [weights["embedding.weight"][token] for token in x]
    for layer in range(2):
        own = {n.removeprefix(f"blocks.{layer}."): w for n, w in weights.items() if n.startswith(f"blocks.{layer}.")}
        normed = [norm(row, own["attention_norm.weight"]) for row in rows]
        mixed = []
        for place in range(len(rows)):
            heads = []
            for number in range(4):

                def part(kind, row, at, number=number, own=own):
                    size = own[f"attention.{kind}.weight"].shape[0] // head
                    own_head = number * size // 4
                    vector = (own[f"attention.{kind}.weight"] @ row)[own_head * head : (own_head + 1) * head]
                    if kind == "value":
                        return vector
                    if f"attention.{kind}_norm.weight" in own:
                        vector = norm(vector, own[f"attention.{kind}_norm.weight"])
                    turn = [complex(math.cos(at * s), math.sin(at * s)) for s in (1.0, 10_000 ** (-2 / head))]
                    turned = torch.complex(vector[: head // 2], vector[head // 2 :]) * torch.tensor(turn)
                    return torch.cat([turned.real, turned.imag])

                query = part("query", normed[place], place)
                scores = torch.stack([query @ part("key", normed[k], k) / head**0.5 for k in range(place + 1)])
                values = torch.stack([part("value", normed[k], k) for k in range(place + 1)])
                heads.append(scores.softmax(0) @ values)
            mixed.append(rows[place] + own["attention.out.weight"] @ torch.cat(heads))
        rows = []
        for row in mixed:
            inner = norm(row, own["feed_forward_norm.weight"])
            up = own["feed_forward.up.weight"] @ inner
            if "feed_forward.gate.weight" in own:
                gate = own["feed_forward.gate.weight"] @ inner
                up = up * gate / (1 + (-gate).exp())
            else:
                up = up.clamp(min=0) ** 2
            rows.append(row + own["feed_forward.down.weight"] @ up)
    return weights["head.weight"] @ norm(rows[-1], weights["norm.weight"])


@pytest.mark.parametrize("options", [{}, LLAMA], ids=["default", "llama"])
def test_logits_are_those_of_the_formulas(options):
    net, x = network(**options), tokens(1, 7)
    torch.testing.assert_close(net(x)[0, -1], by_hand(net, x[0].tolist()), rtol=0, atol=1e-5)  # float32 angles


def test_rotated_products_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    table = rotations(40, 8, 10_000.0).double()
    product = [(rotate(q, table[:, at : at + 1]) * rotate(k, table[:, at + 5 : at + 6])).sum() for at in (0, 9, 34)]
    torch.testing.assert_close(product[1:], product[:1] * 2, rtol=1e-5, atol=1e-5)


def test_a_window_hides_what_lies_before_it():
    net, x = network(window=4, layers=1), tokens()
    changed = x.clone()
    changed[:, 2] = (changed[:, 2] + 1) % VOCABULARY
    same = net(x).isclose(net(changed), rtol=0, atol=1e-12).all(2)
    assert same.tolist() == [[place < 2 or place > 5 for place in range(CONTEXT)]] * 3


def test_a_new_network_gives_every_token_the_same_probability():
    net = GPT((CONTEXT,), VOCABULARY, width=16, heads=2)
    assert net(tokens()).eq(0).all()


@FAMILY
def test_checkpointed_activations_change_no_gradient(options):
    gradients = []
    for checkpointed in (False, True):
        net = network(dropout=0.3, checkpoint_activations=checkpointed, **options).train()
        torch.manual_seed(3)
        net(tokens()).square().mean().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all(a.equal(b) for a, b in zip(*gradients, strict=True))


def test_autocast_keeps_norms_fused_and_close():
    net, x = network(**LLAMA).float(), tokens()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(x)
    torch.testing.assert_close(logits.float().softmax(2), net(x).softmax(2), rtol=0, atol=0.05)


def test_a_tied_head_is_the_embedding():
    net = network(tied=True)
    assert net.head.weight is net.embedding.weight
    assert len(list(net.parameters())) == len(list(network().parameters())) - 1


def test_tokens_are_not_standardised_and_numbers_are_refused():
    net = network()
    standardized = Standardized(net, (), ()).double()
    assert standardized(tokens()).equal(net(tokens()))
    with pytest.raises(ValueError, match="GPT: rows must be tokens, int64"):
        standardized(torch.randn(2, CONTEXT))
    with pytest.raises(ValueError, match="GPT: rows must have shape"):
        standardized(tokens(2, CONTEXT + 1))


def test_it_accepts_up_to_context_tokens():
    net = network()
    assert [net.accepts(shape) for shape in [(1,), (CONTEXT,), (CONTEXT + 1,), (0,), (3, 3)]] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "options",
    [
        *({"heads": 3}, {"kv_heads": 3}, {"layers": 0}, {"dropout": 1.0}, {"width": 12}, {"window": 0}),
        *({"positions": "learned", "max_positions": 5}, {"head_width": 3}, {"rotary_scaling": {"rope_type": "none"}}),
        {"rotary_scaling": {"rope_type": "llama3", "factor": 2.0}},
    ],
    ids=str,
)
def test_impossible_sizes_are_errors(options):
    with pytest.raises(ValueError, match="GPT: "):
        network(**options)


def test_layers_are_listed_from_the_embedding_to_the_last_block():
    layers = network().backbone_names()
    assert layers[0] == ["embedding.weight", "blocks.0.attention_norm.weight"]
    assert layers[-1] == ["blocks.1.feed_forward.down.weight", "norm.weight"]
    assert network().head_names() == ["head"]
