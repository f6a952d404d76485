"""Conversion of the arguments of a `GPT` to the configuration formats of `transformers` and llama.cpp."""

from collections.abc import Mapping
from typing import Any

from project.public_weights.gguf_model import GPT2_SIZES, SIZES
from project.runtime.errors import UserError

Arguments = Mapping[str, Any]


def family_of(arguments: Arguments) -> str:
    """Return the family of public models to which a network belongs.

    Raises:
        UserError: If no family has a network with these parts.
    """
    parts = {name: arguments[name] for name in ("positions", "norm", "feed_forward", "bias", "qkv_bias", "qk_norm")}
    if parts["qkv_bias"] is None:
        parts["qkv_bias"] = parts["bias"]
    plain = parts["qkv_bias"] == parts["bias"]
    scaled = (arguments["rotary_scaling"] or {}).get("rope_type") == "factors"
    window, qk_norm = arguments["window"] is not None, parts["qk_norm"]
    if parts["positions"] == "learned":
        single = arguments["kv_heads"] in (None, arguments["heads"]) and arguments["head_width"] is None
        usual = (parts["norm"], parts["feed_forward"], parts["bias"]) == ("layer", "gelu", True)
        if usual and plain and single and not qk_norm and not window:
            return "gpt2"
    elif parts["norm"] == "rms" and parts["feed_forward"] != "gelu" and not scaled:
        if plain and not (parts["bias"] and (qk_norm or window)) and not (qk_norm and window):
            return "qwen3" if qk_norm else "mistral" if window else "llama"
        if parts["qkv_bias"] and not parts["bias"] and not qk_norm and not window:
            return "qwen2"
    listed = ", ".join(f"{name} {value}" for name, value in parts.items())
    fix = "use the parts of GPT-2, Llama, Mistral, Qwen 2 or Qwen 3"
    raise UserError(f"--format: no family of public models has a network with {listed}; {fix}")


def model_config(arguments: Arguments, context: int, vocabulary: int, stops: list[int]) -> dict[str, Any]:
    """Return the content of a `config.json` that `gpt_arguments` converts back to these arguments."""
    family = family_of(arguments)
    shared = {"model_type": family, "vocab_size": vocabulary, "tie_word_embeddings": arguments["tied"]}
    ends = stops if len(stops) > 1 else stops[0]
    shared |= {"eos_token_id": ends, "bos_token_id": stops[0], "torch_dtype": "float32"}
    heads, width = arguments["heads"], arguments["width"]
    if family == "gpt2":
        return shared | {
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": width,
            "n_layer": arguments["layers"],
            "n_head": heads,
            "n_inner": arguments["hidden"] or 4 * width,
            "n_positions": arguments["max_positions"] or context,
            "layer_norm_epsilon": arguments["norm_eps"],
            "activation_function": "gelu_new",
        }
    names = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
    gated = arguments["feed_forward"] == "swiglu"
    config = shared | {
        "architectures": [f"{names[family]}ForCausalLM"],
        "hidden_size": width,
        "num_hidden_layers": arguments["layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": arguments["kv_heads"] or heads,
        "head_dim": arguments["head_width"] or width // heads,
        "intermediate_size": arguments["hidden"] or (-(-8 * width // 48) * 16 if gated else 4 * width),
        "max_position_embeddings": context,
        "rms_norm_eps": arguments["norm_eps"],
        "rope_theta": arguments["rotary_base"],
        "rope_scaling": arguments["rotary_scaling"],
        # ReLU² is a gated ReLU whose gate is the layer itself: relu(x) x = relu(x)².
        "hidden_act": "silu" if gated else "relu",
    }
    if family == "llama":
        config |= {"attention_bias": arguments["bias"], "mlp_bias": arguments["bias"]}
    return config | ({"sliding_window": arguments["window"]} if family == "mistral" else {})


def gguf_facts(config: Mapping[str, Any]) -> dict[str, int | float | str]:
    """Convert a `config.json` to the metadata of a GGUF file.

    Raises:
        UserError: If llama.cpp does not support the network.
    """
    family, scaling = config["model_type"], config.get("rope_scaling") or {}
    if config.get("hidden_act") == "relu" or family == "mistral" or scaling.get("rope_type") in ("llama3",):
        fix = "train with --model.net.feed_forward swiglu, without a window and rotary scaling of Llama 3"
        raise UserError(f"--format gguf: llama.cpp does not support this network; {fix}")
    names = GPT2_SIZES if family == "gpt2" else SIZES
    facts = {f"{family}.{name}": config[theirs] for name, theirs in names.items() if theirs in config}
    if family != "gpt2":
        facts |= {f"{family}.rope.dimension_count": config["head_dim"]}
        facts |= {f"{family}.attention.value_length": config["head_dim"]}
    if scaling:
        facts[f"{family}.rope.scaling.type"] = scaling["rope_type"]
        facts[f"{family}.rope.scaling.factor"] = float(scaling["factor"])
        if "original_max_position_embeddings" in scaling:
            facts[f"{family}.rope.scaling.original_context_length"] = scaling["original_max_position_embeddings"]
    return facts | {f"{family}.vocab_size": config["vocab_size"]}
