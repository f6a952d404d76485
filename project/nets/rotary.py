"""Rotary position embeddings, and their scaling for contexts longer than in training."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def rotations(length: int, head_width: int, base: float, scaling: Mapping[str, Any] | None = None) -> Tensor:
    """Return cosine and sine of the angle of each position and channel, (2, length, head_width).

    Channels i and i + head_width / 2 have the same angle. The sine of the first has a minus sign, for `rotate`.

    Args:
        length: Number of positions.
        head_width: Number of channels, an even number.
        base: Base of the angles.
        scaling: Scaling of the angles, as in a `config.json` of Hugging Face: `rope_type` `linear`, `llama3` or `yarn`
            with its numbers, or `factors`, which divide the frequency of each pair of channels; None for no scaling.

    Raises:
        ValueError: If the scaling has another type, or a number is missing or out of range.

    Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021).
    """
    # In float64, because at large positions the last bit of a float32 power matters, and it depends on the library.
    speed = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)  # (head_width / 2,)
    kind, magnitude = (scaling or {}).get("rope_type", "default"), 1.0
    try:
        if scaling is not None and kind != "default":
            stretch, magnitude = SCALINGS[kind](speed, base, scaling)
            speed = speed * stretch
    except (LookupError, TypeError, ArithmeticError, ValueError, RuntimeError) as error:
        problem = f"GPT: rotary_scaling {dict(scaling or {})}: {error!r}"
        raise ValueError(f"{problem}; use one of {', '.join(SCALINGS)} with its numbers") from error
    angle = torch.arange(length, dtype=torch.float64)[:, None] * speed
    cos, sin = angle.cos(), angle.sin()
    return magnitude * torch.stack([torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)]).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the pairs of channels i and i + head_width / 2 of x (B, heads, T, head_width), as Hugging Face does."""
    cos, sin = rotation.to(x.dtype)  # (T, head_width) each
    return torch.addcmul(x * cos, x.roll(x.shape[3] // 2, dims=3), sin)


def _linear(speed: Tensor, base: float, scaling: Mapping[str, Any]) -> tuple[Tensor, float]:
    """Divide all frequencies by one factor. Source: Chen et al., "Extending Context Window …" (2023)."""
    return torch.full_like(speed, 1 / scaling["factor"]), 1.0


def _factors(speed: Tensor, base: float, scaling: Mapping[str, Any]) -> tuple[Tensor, float]:
    """Divide the frequency of each pair of channels by a factor of its own, as in GGUF files."""
    return 1 / torch.tensor(scaling["factors"], dtype=speed.dtype).expand_as(speed), 1.0


def _llama3(speed: Tensor, base: float, scaling: Mapping[str, Any]) -> tuple[Tensor, float]:
    """Divide low frequencies by a factor and keep high ones. Source: the reference code of Llama 3.1."""
    turns = scaling["original_max_position_embeddings"] * speed / (2 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return share + (1 - share) / scaling["factor"], 1.0


def _yarn(speed: Tensor, base: float, scaling: Mapping[str, Any]) -> tuple[Tensor, float]:
    """Like Llama 3, with a ramp over the channels and larger logits. Source: Peng et al., "YaRN" (2023)."""
    channels = 2 * len(speed)

    def channel(turns: float) -> float:  # the channel with this number of turns within the training context
        length = scaling["original_max_position_embeddings"]
        return channels * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = channel(scaling.get("beta_fast") or 32), channel(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, channels - 1)
    ramp = (torch.arange(len(speed)) - low) / (high - low if high != low else 0.001)
    magnitude = scaling.get("attention_factor") or 0.1 * math.log(max(scaling["factor"], 1)) + 1
    share = 1 - ramp.clamp(0, 1).double()
    return share + (1 - share) / scaling["factor"], magnitude


# Each function returns factors of the frequencies, (head_width / 2,), and a factor of cosine and sine.
SCALINGS = {"linear": _linear, "llama3": _llama3, "yarn": _yarn, "factors": _factors}
