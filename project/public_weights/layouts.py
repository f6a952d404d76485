"""Names and memory layouts of the parameters of a `GPT` in files of other programs."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from project.public_weights.source import Source

QKV = ("attention.query", "attention.key", "attention.value")
MATRICES = (*QKV, "attention.out", "feed_forward.up", "feed_forward.down")


class Layout(NamedTuple):
    """Names and memory layout of parameters in a kind of file.

    Attributes:
        names: For each module of the network, the name of the module in the file.
        fused: The module with the concatenated queries, keys and values; None if they are separate.
        transposed: Whether matrices of blocks are (in, out), as in GPT-2's `Conv1D`.
        interleaved: Whether the rotary pairs are channels 2i and 2i + 1 instead of i and i + width / 2.
        ignored: Regular expression for the end of names of tensors that are not parameters.
    """

    names: Mapping[str, str]
    fused: str | None = None
    transposed: bool = False
    interleaved: bool = False
    ignored: str = "$^"

    def name(self, ours: str) -> str:
        """Return the name in the file of a parameter of the network."""
        module, _, kind = ours.rpartition(".")
        number = ""
        if block := re.match(r"blocks\.(\d+)\.", module):
            module, number = module[block.end() :], f"{self.names['blocks']}.{block[1]}."
        theirs = self.fused if self.fused is not None and module in QKV else self.names[module]
        return f"{number}{theirs}.{kind}"

    def read(self, source: Source, ours: str, heads: Mapping[str, int]) -> Tensor:
        """Return a parameter of the network; `heads` are the numbers of query and key heads."""
        tensor, part = source.read(self.name(ours)), _part(ours)
        if self.transposed and part in MATRICES and tensor.ndim == 2:
            tensor = tensor.T
        if self.fused is not None and part in QKV:
            tensor = tensor.chunk(3)[QKV.index(part)]
        return halves(tensor, heads[part]) if self.interleaved and part in heads else tensor

    def write(self, state: Mapping[str, Tensor], heads: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
        """Yield name and tensor of each parameter in the layout of the file, the inverse of `read`."""
        for ours, tensor in state.items():
            part = _part(ours)
            if self.fused is not None and part in QKV:
                if part != QKV[0]:
                    continue
                tensor = torch.cat([state[ours.replace(QKV[0], other)] for other in QKV])
            elif self.interleaved and part in heads:
                tensor = interleave(tensor, heads[part])
            if self.transposed and part in MATRICES and tensor.ndim == 2:
                tensor = tensor.T
            yield self.name(ours), tensor.contiguous()


def _part(ours: str) -> str:
    """Return the module of a parameter, without the name of its block."""
    return re.sub(r"^blocks\.\d+\.", "", ours).rpartition(".")[0]


def halves(tensor: Tensor, heads: int) -> Tensor:
    """Reorder rows (heads * width, …) from interleaved to half-split rotary channels."""
    return tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def interleave(tensor: Tensor, heads: int) -> Tensor:
    """Reorder rows (heads * width, …) from half-split to interleaved rotary channels."""
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


LLAMA = Layout(
    {
        "embedding": "model.embed_tokens",
        "blocks": "model.layers",
        "attention_norm": "input_layernorm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.query_norm": "self_attn.q_norm",
        "attention.key_norm": "self_attn.k_norm",
        "attention.out": "self_attn.o_proj",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.up": "mlp.up_proj",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.down": "mlp.down_proj",
        "norm": "model.norm",
        "head": "lm_head",
    },
    ignored=r"rotary_emb\.inv_freq$",
)
GPT2 = Layout(
    {
        "embedding": "transformer.wte",
        "positions": "transformer.wpe",
        "blocks": "transformer.h",
        "attention_norm": "ln_1",
        "attention.out": "attn.c_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    fused="attn.c_attn",
    transposed=True,
    ignored=r"\.attn\.(masked_)?bias$",
)
GGUF = Layout(
    {
        "embedding": "token_embd",
        "positions": "position_embd",
        "blocks": "blk",
        "attention_norm": "attn_norm",
        "attention.query": "attn_q",
        "attention.key": "attn_k",
        "attention.value": "attn_v",
        "attention.query_norm": "attn_q_norm",
        "attention.key_norm": "attn_k_norm",
        "attention.out": "attn_output",
        "feed_forward_norm": "ffn_norm",
        "feed_forward.up": "ffn_up",
        "feed_forward.gate": "ffn_gate",
        "feed_forward.down": "ffn_down",
        "norm": "output_norm",
        "head": "output",
    },
    ignored=r"rope_freqs\.weight$",
)
LAYOUTS = {"gpt2": GPT2} | dict.fromkeys(["llama", "mistral", "qwen2", "qwen3"], LLAMA)
GGUF_LAYOUTS = {
    "gpt2": GGUF._replace(fused="attn_qkv"),
    "llama": GGUF._replace(interleaved=True),
    "qwen2": GGUF,
    "qwen3": GGUF,
}
