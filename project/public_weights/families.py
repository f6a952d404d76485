"""Conversion of the `config.json` of public models to the arguments of a `GPT`."""

from collections.abc import Callable, Mapping
from typing import Any

from project.runtime.errors import UserError

Config = Mapping[str, Any]


def gpt_arguments(config: Config, place: str) -> dict[str, Any]:
    """Return the arguments of the `GPT` that a configuration describes, without context and vocabulary.

    Args:
        config: The content of a `config.json`.
        place: Path of the file, for error messages.

    Raises:
        UserError: If the family or a setting is not supported, or a number is missing or invalid.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"{place}: the family {str(family)[:40]!r} is not known; convert the weights to one of {known}")
    if "quantization_config" in config:
        raise UserError(f"{place}: its weights are quantized; pass the original weights, or a GGUF file of them")
    try:
        return FAMILIES[family](config)
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{place}: {_explain(error)}; the configuration is damaged or not supported") from error


def _explain(error: Exception) -> str:
    return f"no {error}" if isinstance(error, LookupError) else str(error)[:200]


def size(config: Config, name: str, default: int | None = None) -> int:
    """Return a positive integer of a configuration.

    Raises:
        KeyError: If it is missing, and there is no default.
        ValueError: If it is not a positive integer.
    """
    value = config[name] if default is None else config.get(name)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise ValueError(f"{name} must be a positive integer, got {str(value)[:40]}")
    return value


def _number(config: Config, name: str, default: float) -> float:
    value = config.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e30:
        raise ValueError(f"{name} must be a positive number, got {str(value)[:40]}")
    return float(value)


def _require(config: Config, expected: Mapping[str, Any]) -> None:
    """Raise a ValueError unless settings that a `GPT` does not support have their usual values."""
    for name, usual in expected.items():
        if config.get(name, usual) not in (usual, None):
            raise ValueError(f"{name} {str(config[name])[:40]!r} is not supported (only {usual!r})")


def _gpt2(config: Config) -> dict[str, Any]:
    usual = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
    _require(config, usual)
    if config.get("activation_function", "gelu_new") not in ("gelu_new", "gelu_pytorch_tanh"):
        raise ValueError(f"activation_function {str(config['activation_function'])[:40]!r} is not supported")
    width = size(config, "n_embd")
    return {
        "width": width,
        "layers": size(config, "n_layer"),
        "heads": size(config, "n_head"),
        "hidden": size(config, "n_inner", 4 * width),
        "feed_forward": "gelu",
        "positions": "learned",
        "max_positions": size(config, "n_positions"),
        "norm": "layer",
        "norm_eps": _number(config, "layer_norm_epsilon", 1e-5),
        "bias": True,
        "qk_norm": False,
        "tied": bool(config.get("tie_word_embeddings", True)),
    }


def _rotary(config: Config) -> dict[str, Any]:
    """Return base and scaling of rotary positions, with the names of `transformers` 5 or of earlier versions."""
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(settings, Mapping):
        raise ValueError("rope_parameters should be an object")
    base = _number(settings if "rope_theta" in settings else config, "rope_theta", 10_000.0)
    scaling = {name: value for name, value in settings.items() if name not in ("rope_theta", "type")}
    kind = scaling.setdefault("rope_type", settings.get("type", "default"))
    _require(scaling, {"partial_rotary_factor": 1.0, "mscale": None, "mscale_all_dim": None})
    if kind == "default":
        return {"rotary_base": base}
    longest = {"original_max_position_embeddings": size(config, "max_position_embeddings")}
    return {"rotary_base": base, "rotary_scaling": longest | scaling}


def _llama(config: Config) -> dict[str, Any]:
    heads, act = size(config, "num_attention_heads"), config.get("hidden_act", "silu")
    if act not in ("silu", "relu"):
        raise ValueError(f"hidden_act {str(act)[:40]!r} is not supported (only 'silu')")
    bias = bool(config.get("attention_bias"))
    if bias != bool(config.get("mlp_bias")):
        raise ValueError("attention_bias without mlp_bias, or the reverse, is not supported")
    return {
        "width": size(config, "hidden_size"),
        "layers": size(config, "num_hidden_layers"),
        "heads": heads,
        "kv_heads": size(config, "num_key_value_heads", heads),
        "head_width": size(config, "head_dim", size(config, "hidden_size") // heads),
        "hidden": size(config, "intermediate_size"),
        "feed_forward": "swiglu" if act == "silu" else "relu2",  # a gated ReLU whose gate is the layer itself
        "norm_eps": _number(config, "rms_norm_eps", 1e-6),
        "bias": bias,
        "qk_norm": False,
        "tied": bool(config.get("tie_word_embeddings", False)),
        **_rotary(config),
    }


def _mistral(config: Config) -> dict[str, Any]:
    window = config.get("sliding_window", 4_096)
    return _llama(config) | {"window": None if window is None else size(config, "sliding_window", 4_096)}


def _qwen(config: Config, **own: Any) -> dict[str, Any]:
    arguments = _llama(config) | own
    first = config.get("max_window_layers") or 0
    if not config.get("use_sliding_window") or first >= arguments["layers"]:
        return arguments
    if first:
        raise ValueError("a sliding window in some of the layers is not supported")
    return arguments | {"window": size(config, "sliding_window", 4_096)}


FAMILIES: dict[str, Callable[[Config], dict[str, Any]]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": lambda config: _qwen(config, qkv_bias=True),
    "qwen3": lambda config: _qwen(config, qk_norm=True),
}
