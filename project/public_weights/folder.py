"""Reading of a Hugging Face folder: config.json, safetensors files, tokenizer.json and chat template."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from project.public_weights.source import Shape, Source
from project.runtime.errors import UserError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MAX_JSON_BYTES = 2**28  # enough for a tokenizer with a million tokens
FLOATS = ("F64", "F32", "F16", "BF16")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is no such file.

    Raises:
        UserError: If it is not a JSON object, or too large.
    """
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UserError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MiB; download it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; download it again")
    return content


def open_weights(folder: Path) -> Source:
    """Return the memory-mapped tensors of the safetensors files in a folder.

    Raises:
        UserError: If there are none, or a file is damaged or outside the folder.
    """
    index = read_json(folder / INDEX).get("weight_map")
    files = sorted({str(file) for file in index.values()}) if isinstance(index, Mapping) else [WEIGHTS]
    if outside := [file for file in files if Path(file).name != file]:
        raise UserError(f"{folder / INDEX}: it names the file {outside[0][:80]!r} outside of its folder")
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise UserError(f"{folder}: no {missing[0]}; only safetensors files are supported; convert other files")
    return open_tensors(*(folder / file for file in files))


def open_tensors(*paths: Path) -> Source:
    """Return the memory-mapped tensors of safetensors files.

    Raises:
        UserError: If a file is damaged, or a tensor has an unsupported type.
    """
    from safetensors import safe_open

    shapes, places = dict[str, Shape](), dict[str, Path]()
    for path in paths:
        for name, shape in _shapes(path).items():
            shapes[name], places[name] = shape, path

    def read(name: str) -> Tensor:
        # Opened each time: what was read of a mapped file stays in memory for as long as it is open.
        with safe_open(places[name], framework="pt") as file:
            return file.get_tensor(name).float()

    return Source(shapes, read)


def _shapes(path: Path) -> dict[str, Shape]:
    """Return the shape of each tensor of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, Shape] = {}
    try:
        file: Any = safe_open(path, framework="pt")
        for name in file.keys():  # noqa: SIM118 (not a dict)
            part = file.get_slice(name)
            if part.get_dtype() not in FLOATS:
                raise UserError(
                    f"{path}: {name[:80]!r} has the type {part.get_dtype()}, not one of {', '.join(FLOATS)}"
                )
            found[name] = tuple(part.get_shape())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file, or a damaged one: {error}") from error
    return found


def chat_template(folder: Path) -> str | None:
    """Return the chat template in a folder; None if there is none."""
    file = folder / "chat_template.jinja"
    if file.is_file() and file.stat().st_size < 2**20:
        return file.read_text(encoding="utf-8", errors="replace")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several templates with names
        named = {part.get("name"): part.get("template") for part in template if isinstance(part, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def token_names(folder: Path) -> dict[str, str]:
    """Return the names of the tokens that templates put before a text (`bos`) and after an answer (`eos`)."""
    settings, found = read_json(folder / "tokenizer_config.json"), dict[str, str]()
    for name in ("bos", "eos"):
        token = settings.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if f"{name}_token" in settings:
            found[name] = token if isinstance(token, str) else ""
    return found


def end_tokens(folder: Path) -> list[int]:
    """Return the ids that end a text, from the generation configuration and the model configuration."""
    found = list[int]()
    for name in ("generation_config.json", CONFIG):
        ends = read_json(folder / name).get("eos_token_id")
        found += [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)]
    return sorted(set(found))


def tokenizer_text(folder: Path) -> str:
    """Return the content of tokenizer.json.

    Raises:
        UserError: If there is no such file, or it is too large.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{folder}: no tokenizer.json; save it there with transformers' AutoTokenizer.save_pretrained")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UserError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MiB; download it again")
    return path.read_bytes().decode("utf-8", "replace")
