"""Tokens per second of an exported language model in ONNX Runtime, of its network in PyTorch, and of transformers.

All three have the same weights and generate the same, most likely tokens. Then requests per second to a server of the
exported model, from one client and from several clients at the same time.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import torch

from benchmarks.serving import load, started
from benchmarks.suite import Measurement
from project.exporting.text_export import write_text_onnx
from project.models.next_logits import TorchLogits
from project.nets import GPT
from project.runtime.errors import UserError
from project.serving.metadata import FORMAT, LANGUAGE, Metadata
from project.serving.text_artifact import TextArtifact
from project.text import ByteTokenizer
from project.text.sampling import Sampling
from project.text.writing import NextLogits, Writing, write

CONTEXT, VOCABULARY, WIDTH, LAYERS, HEADS, HIDDEN = 512, 1_024, 128, 4, 4, 352
PROMPT, TOKENS = [1, 2, 3], 256
PEER = "transformers"
ROUTE, ALONE, CLIENTS, SERVED_TOKENS = "/v1/completions", "one client", 8, 64
# Names of Llama's modules in transformers, by those of `GPT`.
NAMES = {
    "embedding": "model.embed_tokens",
    "blocks": "model.layers",
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
    "attention": "self_attn",
    "feed_forward": "mlp",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "o_proj",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
    "norm": "model.norm",
    "head": "lm_head",
}


def llama(net: GPT) -> Callable[[], list[int]]:
    """Return a function that generates tokens with a net of transformers with the same weights."""
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise UserError("generation is compared with transformers; run pip install transformers") from error

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        bos_token_id=None,
        eos_token_id=None,
    )
    peer = LlamaForCausalLM(config).eval()
    state = {".".join(NAMES.get(part, part) for part in name.split(".")): w for name, w in net.state_dict().items()}
    peer.load_state_dict(state)
    prompt = torch.tensor([PROMPT])

    def run() -> list[int]:
        found = peer.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=TOKENS, do_sample=False)
        return found[0, len(PROMPT) :].tolist()

    return run


def ours(start: Callable[[], NextLogits]) -> Callable[[], list[int]]:
    """Return a function that generates tokens with one of this project's back ends."""
    tokenizer = ByteTokenizer()
    tokenizer.pieces, tokenizer.end = [b"a"] * VOCABULARY, VOCABULARY  # a text that never ends

    def run() -> list[int]:
        *_, [writer] = write(PROMPT, start(), tokenizer, Writing(Sampling(0), TOKENS))
        return writer.tokens

    return run


def generation(quick: bool) -> Iterator[Measurement]:
    """Measure the tokens per second of each contestant, in turn."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = GPT((CONTEXT,), VOCABULARY, WIDTH, LAYERS, HEADS, feed_forward="swiglu", hidden=HIDDEN, qk_norm=False)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.ndim == 1 else 0.0, 0.1)
    net.eval()
    described: Any = {"format": FORMAT, "task": LANGUAGE, "in_shape": [CONTEXT], "out_features": VOCABULARY}
    described |= dict.fromkeys(get_type_hints(Metadata).keys() - described.keys(), "")
    described |= {"dynamic_length": True, "window": 0, "class_names": None, "intervals": None, "metrics": {}}
    described["threshold"] = None
    described |= {"feature_names": [], "target_names": [], "feature_means": [], "target_offsets": None}
    pairs = [[number // 256, number % 256] for number in range(VOCABULARY - 257)]  # and 256 bytes, and an end
    described |= {"precision": "float32", "fields": [{"tokenizer": {"kind": "bpe", "merges": pairs}}]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_text_onnx(path, net, described)
        artifact = TextArtifact(path)
        yield from requests(path, 2 if quick else 10)
    runs = {
        PEER: llama(net),
        "PyTorch": ours(lambda: TorchLogits(net, CONTEXT)),
        "ONNX Runtime": ours(artifact.next_logits),
    }
    expected, seconds = runs[PEER](), dict[str, list[float]]()
    for _ in range(3 if quick else 9):
        for name, run in runs.items():
            began = time.perf_counter()
            if run() != expected:
                raise RuntimeError(f"{name} writes other tokens than {PEER}")
            seconds.setdefault(name, []).append(time.perf_counter() - began)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    what = f"{TOKENS} tokens of {sum(weight.numel() for weight in net.parameters()):,} weights, 1 thread"
    for name, median in medians.items():
        yield Measurement(what, name, TOKENS / median, medians[PEER] / median, PEER, "tokens/s")


def requests(path: Path, seconds: float) -> Iterator[Measurement]:
    """Measure requests per second, in turn."""
    settings = {"prompt": PROMPT, "max_tokens": SERVED_TOKENS, "temperature": 0}
    body, found = json.dumps(settings).encode(), dict[str, list[float]]()
    with started(path, path=ROUTE, body=body) as server:
        for _ in range(3):
            for name, clients in ((ALONE, 1), (f"{CLIENTS} clients", CLIENTS)):
                found.setdefault(name, []).append(load(server.port, body, clients, seconds, ROUTE))
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, median in medians.items():
        what = f"requests for {SERVED_TOKENS} tokens"
        yield Measurement(what, name, median, median / medians[ALONE], ALONE, "/s")
