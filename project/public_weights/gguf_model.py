"""Conversion of the metadata of a GGUF file to a `config.json` and a `tokenizer.json`."""

import json
from collections.abc import Mapping
from typing import Any

from project.public_weights.gguf_file import GGUF
from project.runtime.errors import UserError

# Keys of a GGUF file, without the architecture, and the names of the same settings in config.json.
SIZES = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
GPT2_SIZES = {
    "embedding_length": "n_embd",
    "block_count": "n_layer",
    "attention.head_count": "n_head",
    "feed_forward_length": "n_inner",
    "context_length": "n_positions",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _split(digits: str) -> list[dict[str, Any]]:
    """Return pre-tokenizers that find words with a regular expression; `digits` is its part for numbers."""
    pattern = {"Regex": CONTRACTIONS + digits + REST}
    return [
        {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False},
        BYTES | {"use_regex": False},
    ]


WORDS: dict[str, list[dict[str, Any]]] = {  # the pre-tokenizers for each value of `tokenizer.ggml.pre`
    "gpt-2": [BYTES],
    "smollm": [{"type": "Digits", "individual_digits": True}, BYTES],
    "llama-bpe": _split(r"\p{N}{1,3}"),
    "qwen2": _split(r"\p{N}"),
}
SPECIAL, USERS, UNUSED = 3, 4, 5  # values of `tokenizer.ggml.token_type`: control, user-defined, unused


def gguf_config(file: GGUF, place: str) -> dict[str, Any]:
    """Return the configuration of a GGUF file with the names of a `config.json`.

    Raises:
        UserError: If only a part of the channels is rotated.
    """
    facts, shapes = file.facts, file.source.shapes
    family = facts.get("general.architecture")
    names = GPT2_SIZES if family == "gpt2" else SIZES
    own = {key.removeprefix(f"{family}."): value for key, value in facts.items() if key.startswith(f"{family}.")}
    config = {theirs: own[name] for name, theirs in names.items() if name in own}
    config |= {"model_type": family, "tie_word_embeddings": "output.weight" not in shapes}
    config["vocab_size"] = shapes.get("token_embd.weight", (None,))[0]
    scaling = own.get("rope.scaling.type", "none")
    if scaling != "none":
        factor = own.get("rope.scaling.factor")
        original = own.get("rope.scaling.original_context_length", own.get("context_length"))
        config["rope_scaling"] = {"rope_type": scaling, "factor": factor, "original_max_position_embeddings": original}
    if "rope_freqs.weight" in shapes:  # as in Llama 3.1
        factors = file.source.read("rope_freqs.weight").tolist()
        config["rope_scaling"] = {"rope_type": "factors", "factors": factors}
    partial = own.get("rope.dimension_count")
    heads = config.get("num_attention_heads")
    if isinstance(partial, int) and isinstance(heads, int) and heads > 0:
        width = config.get("head_dim") or config.get("hidden_size", 0) // heads
        if partial != width:
            raise UserError(f"{place}: {partial} of {width} channels of a head are rotated, which is not supported")
    if own.get("attention.sliding_window"):
        config |= {"model_type": "mistral", "sliding_window": own["attention.sliding_window"]}
    return config


def gguf_tokenizer(facts: Mapping[str, Any], place: str) -> tuple[str, dict[str, Any]]:
    """Return the content of a `tokenizer.json` and further arguments of a `JsonTokenizer`, from a GGUF file.

    Raises:
        UserError: If the tokenizer is not byte-level BPE, its pre-tokenizer is not supported, or it is damaged.
    """
    known = {name.removeprefix("tokenizer.ggml."): value for name, value in facts.items()}
    kind, words, tokens = known.get("model"), known.get("pre", "gpt-2"), known.get("tokens")
    options = _special_tokens(known)
    if isinstance(text := facts.get("tokenizer.huggingface.json"), str):
        return text, options
    if kind != "gpt2":
        raise UserError(f"{place}: its tokenizer is {str(kind)[:40]!r}; only byte-level BPE ('gpt2') is supported")
    if words not in WORDS:
        listed = ", ".join(WORDS)
        raise UserError(f"{place}: its pre-tokenizer is {str(words)[:40]!r}; only {listed} are supported")
    merges, types = known.get("merges"), known.get("token_type")
    if not isinstance(tokens, list) or not isinstance(merges, list) or types is None or len(types) != len(tokens):
        raise UserError(f"{place}: its tokenizer is damaged; download the file again")
    added = [
        {
            **{"id": number, "content": token, "special": int(types[number]) != USERS, "normalized": False},
            **{"single_word": False, "lstrip": False, "rstrip": False},
        }
        for number, token in enumerate(tokens)
        if int(types[number]) in (SPECIAL, USERS, UNUSED)
    ]
    model: dict[str, Any] = {
        "type": "BPE",
        "vocab": {token: number for number, token in enumerate(tokens)},
        "merges": merges,
    }
    if words == "llama-bpe":
        model["ignore_merges"] = True
    normalizer = {"type": "NFC"} if words == "qwen2" else None
    content = {"version": "1.0", "added_tokens": added, "normalizer": normalizer, "model": model, "decoder": BYTES}
    return json.dumps(content | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": WORDS[words]}}), options


def _special_tokens(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `JsonTokenizer` about special tokens, from the metadata of a tokenizer."""
    begins = bool(known.get("add_bos_token", known.get("pre") == "llama-bpe"))
    stop, tokens = known.get("eos_token_id"), known.get("tokens")
    options = {
        "stops": [stop] if isinstance(stop, int) else [],
        "begins": begins,
        "end": known.get("bos_token_id") if begins else None,
    }
    for name in ("bos", "eos"):
        number = known.get(f"{name}_token_id")
        if isinstance(tokens, list) and isinstance(number, int) and 0 <= number < len(tokens):
            options[name] = tokens[number]
    return options
