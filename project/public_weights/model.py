"""Public weights as the arguments of a network, its weights, and a tokenizer."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from project.nets.gpt import GPT
from project.public_weights.families import gpt_arguments, size
from project.public_weights.folder import (
    CONFIG,
    chat_template,
    end_tokens,
    open_weights,
    read_json,
    token_names,
    tokenizer_text,
)
from project.public_weights.gguf_file import read_gguf
from project.public_weights.gguf_model import gguf_config, gguf_tokenizer
from project.public_weights.layouts import GGUF_LAYOUTS, LAYOUTS, Layout
from project.public_weights.peft import ADAPTER, base_of, with_adapters
from project.public_weights.source import LazyState, Source
from project.runtime.errors import UserError
from project.text import JsonTokenizer

MAX_CONTEXT = 2_048  # unless the data sets another one, since a cache for 128k tokens could fill the memory
PREFIX = "net.net."  # prefix of the network's parameters in a `LanguageModel`


class PublicModel(NamedTuple):
    """Public weights.

    Attributes:
        arguments: Arguments of the `GPT`.
        context: Number of tokens.
        state: The weights, by their names in a `LanguageModel`.
        tokenizer: The tokenizer, as plain data.
    """

    arguments: dict[str, Any]
    context: int
    state: LazyState
    tokenizer: JsonTokenizer


def is_public(path: Path) -> bool:
    """Whether a file is a GGUF file, or the configuration in a folder of Hugging Face or of peft."""
    return path.name in (CONFIG, ADAPTER) or path.suffix == ".gguf"


def open_public(path: Path) -> PublicModel:
    """Open a GGUF file, or the folder of a `config.json` or an `adapter_config.json`. Weights are read on access.

    Raises:
        UserError: If the family or the tokenizer is not supported, or a file is damaged.
    """
    if path.name == ADAPTER:
        base = base_of(path)
        public, layout = open_public(base), LAYOUTS[read_json(base)["model_type"]]
        return public._replace(state=with_adapters(public.state, layout, path, PREFIX))
    if path.suffix == ".gguf":
        file = read_gguf(path)
        config, source = gguf_config(file, str(path)), file.source
        arguments = gpt_arguments(config, str(path))
        layout = GGUF_LAYOUTS[str(file.facts["general.architecture"])]
        text, options = gguf_tokenizer(file.facts, str(path))
        template = file.facts.get("tokenizer.chat_template")
    else:
        config, source = read_json(path), open_weights(path.parent)
        arguments = gpt_arguments(config, str(path))
        layout = LAYOUTS[config["model_type"]]
        source = _with_prefix(source, layout)
        text, options = tokenizer_text(path.parent), {"stops": end_tokens(path.parent), "begins": None}
        options |= token_names(path.parent)
        template = chat_template(path.parent)
    try:
        vocabulary = size(config, "vocab_size")
        positions = arguments.get("max_positions") or size(config, "max_position_embeddings")
        context = min(MAX_CONTEXT, positions)
        state = _state(source, layout, arguments, context, vocabulary)
        tokenizer = JsonTokenizer(text, size=vocabulary, **options)
        tokenizer.chat_template = template if isinstance(template, str) else None
    except (ValueError, LookupError) as error:
        raise UserError(f"{path}: {error}; download it again") from error
    return PublicModel(arguments, context, state, tokenizer)


def _with_prefix(source: Source, layout: Layout) -> Source:
    """Return tensors whose names have the prefix of the model, which is missing in the original GPT-2 files."""
    prefix = layout.names["embedding"].partition(".")[0] + "."
    if any(name.startswith(prefix) for name in source.shapes):
        return source
    names = {name if name == "lm_head.weight" else prefix + name: name for name in source.shapes}
    return Source({name: source.shapes[old] for name, old in names.items()}, lambda name: source.read(names[name]))


def _state(source: Source, layout: Layout, arguments: dict[str, Any], context: int, vocabulary: int) -> LazyState:
    """Check that a file has exactly the weights of a network, and return them.

    Raises:
        ValueError: If it does not.
    """
    largest = max((max(shape, default=0) for shape in source.shapes.values()), default=0)
    limits = {"layers": len(source.shapes), "vocabulary": largest}
    limits |= dict.fromkeys(["width", "heads", "head_width", "hidden", "max_positions"], largest)
    for name, value in (arguments | {"vocabulary": vocabulary}).items():
        if name in limits and value > limits[name]:  # checked before anything of this size is created
            raise ValueError(f"its {name}, {value}, is larger than its tensors")
    with torch.device("meta"):
        ours = GPT((context,), vocabulary, **arguments).state_dict()
    heads = {"attention.query": arguments["heads"], "attention.key": arguments.get("kv_heads", arguments["heads"])}
    tied = {"head.weight": "embedding.weight"} if arguments["tied"] else {}
    written = {name: value for name, value in ours.items() if name not in tied}
    gated = arguments["feed_forward"] == "relu2"
    if gated:  # the gate is the layer itself
        written |= {name.replace(".up.", ".gate."): value for name, value in ours.items() if ".up." in name}
    expected = {name: tuple(value.shape) for name, value in layout.write(written, heads)}
    ignored = layout.ignored + ("|^" + re.escape(layout.name("head.weight")) if tied else "")
    found = {name: shape for name, shape in source.shapes.items() if not re.search(ignored, name)}
    if found != expected:
        name = min(name for name in found | expected if found.get(name) != expected.get(name))
        there, wanted = found.get(name, "missing"), expected.get(name, "no such tensor")
        raise ValueError(f"the tensor {name[:80]!r} is {there}, expected {wanted} by its configuration")

    def read(name: str) -> Tensor:
        name = name.removeprefix(PREFIX)
        tensor = layout.read(source, tied.get(name, name), heads)
        if gated and ".up." in name and not tensor.equal(source.read(layout.name(name.replace(".up.", ".gate.")))):
            raise ValueError("hidden_act 'relu' is only supported if each gate is equal to its layer")
        return tensor

    return LazyState(Source({PREFIX + name: tuple(value.shape) for name, value in ours.items()}, read))
