"""Damaged and hostile files are one line; nothing of a file is executed, and no size of it is believed."""

import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from project.public_weights.gguf_file import read_gguf
from project.public_weights.model import open_public
from project.runtime.errors import UserError
from tests.public_weights.folders import opened, write_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_llama(tmp_path_factory.mktemp("llama"))


def copied(folder, path, **changes):
    """Return a copy of a folder with changes of its configuration."""
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | changes
    (path / "config.json").write_text(json.dumps(config))
    return path / "config.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "the family 'mamba' is not known; convert .*llama, mistral"),
        ({"hidden_size": 10**9, "head_dim": 8}, "larger than its tensors"),
        ({"num_hidden_layers": 10**9}, "larger than its tensors"),
        ({"vocab_size": 10**9}, "larger than its tensors"),
        ({"hidden_size": -1}, "hidden_size must be a positive integer, got -1"),
        ({"intermediate_size": 47}, r"is .32, 48., expected .32, 47. by its configuration"),
        ({"num_hidden_layers": 1}, "no such tensor"),
        ({"tie_word_embeddings": False}, "lm_head.weight' is missing"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "linear, llama3, yarn"),
        ({"rope_scaling": {"type": "llama3", "factor": "x"}}, "rotary_scaling"),
        ({"quantization_config": {}}, "quantized"),
        ({"num_attention_heads": None}, "num_attention_heads"),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_is_one_line(folder, tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as raised:
        open_public(copied(folder, tmp_path, **changes))
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"[" * 100_000, "not JSON"),
        ("config.json", b"[1]", "not a JSON object"),
        ("tokenizer.json", b"{}", "not a tokenizer.json"),
        ("tokenizer.json", None, "no tokenizer.json"),
        ("model.safetensors", None, "only safetensors files are supported"),
        ("model.safetensors", b"\xff" * 100, "damaged"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "../../etc/passwd"}}', "outside of its folder"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "gone.safetensors"}}', "no gone.safetensors"),
    ],
)
def test_a_damaged_file_of_a_folder_is_one_line(folder, tmp_path, file, content, message):
    config = copied(folder, tmp_path)
    (tmp_path / file).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_public(config)


def test_a_relu_with_a_gate_of_its_own_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="hidden_act .relu. is only supported if each gate"):
        opened(str(copied(folder, tmp_path, hidden_act="relu")))


def test_quantized_numbers_and_a_tokenizer_that_is_too_large_are_one_line(folder, tmp_path):
    state = load_file(folder / "model.safetensors")
    config = copied(folder, tmp_path)
    save_file({name: value.to(torch.int8) for name, value in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="the type I8, not one of"):
        open_public(config)
    config = copied(folder, tmp_path, vocab_size=270)
    state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"][:270].clone()
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="it has 278 tokens .* but the network 270"):
        open_public(config)


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def gguf(facts: bytes = b"", count: int = 0, tensors: bytes = b"", number: int = 0, data: bytes = b"") -> bytes:
    """The bytes of a GGUF file."""
    header = b"GGUF" + struct.pack("<IQQ", 3, number, count) + facts + tensors
    return header + bytes(-len(header) % 32) + data


def entry(name: bytes, shape: list[int], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


HUGE = struct.pack("<Q", 2**62)
HOSTILE = {
    "empty": b"",
    "other": b"PK\3\4" + bytes(100),
    "version": b"GGUF" + struct.pack("<IQQ", 9, 0, 0),
    "many facts": b"GGUF" + struct.pack("<I", 3) + bytes(8) + HUGE,
    "many tensors": b"GGUF" + struct.pack("<I", 3) + HUGE + bytes(8),
    "long key": gguf(HUGE, 1),
    "long string": gguf(string(b"k") + struct.pack("<I", 8) + HUGE, 1),
    "long array": gguf(string(b"k") + struct.pack("<II", 9, 4) + HUGE, 1),
    "arrays in arrays": gguf(string(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 10_000, 1),
    "unknown fact": gguf(string(b"k") + struct.pack("<I", 77), 1),
    "unknown type": gguf(b"", 0, entry(b"t", [4], 99, 0), 1, bytes(64)),
    "dimensions": gguf(b"", 0, string(b"t") + struct.pack("<I", 2**30), 1),
    "too large": gguf(b"", 0, entry(b"t", [2**40, 2**40], 0, 0), 1, bytes(64)),
    "no numbers": gguf(b"", 0, entry(b"t", [2**40, 0], 0, 0), 1, bytes(64)),
    "outside": gguf(b"", 0, entry(b"t", [4], 0, 2**60), 1, bytes(64)),
    "overlap": gguf(b"", 0, entry(b"t", [16], 0, 0) + entry(b"u", [8], 0, 32), 2, bytes(64)),
    "twice": gguf(b"", 0, entry(b"t", [8], 0, 0) + entry(b"t", [8], 0, 32), 2, bytes(64)),
    "half a block": gguf(b"", 0, entry(b"t", [16], 8, 0), 1, bytes(64)),
    "alignment": gguf(string(b"general.alignment") + struct.pack("<II", 4, 0), 1),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_gguf_file_is_one_line(tmp_path, content):
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(UserError, match="not a GGUF file, or a damaged one: ") as raised:
        read_gguf(tmp_path / "a.gguf")
    assert len(str(raised.value).splitlines()) == 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_of_a_gguf_file_is_read_or_one_line(tmp_path_factory, data):
    facts = string(b"k") + struct.pack("<II", 9, 8) + struct.pack("<Q", 2) + string(b"ab") + string(b"c")
    content = bytearray(gguf(facts, 1, entry(b"t", [4, 2], 0, 0) + entry(b"u", [32], 8, 32), 2, bytes(96)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        file = read_gguf(path)
    except UserError:
        return
    for name, shape in file.source.shapes.items():
        assert file.source.read(name).shape == shape


def block(numbers: np.ndarray, kind: int) -> bytes:
    """32 numbers as a block of Q4_0, Q4_1 or Q8_0, by the words of the format: scale, minimum, integers."""
    if kind == 8:
        return np.float16(0.5).tobytes() + (numbers * 2).astype(np.int8).tobytes()
    low = {2: -8, 3: 0}[kind]
    nibbles = (numbers * 2 - low - (0 if kind == 2 else -2)).astype(np.uint8)  # Q4_1: a minimum of -1
    packed = (nibbles[:16] | (nibbles[16:] << 4)).astype(np.uint8).tobytes()
    return np.float16(0.5).tobytes() + (np.float16(-1).tobytes() if kind == 3 else b"") + packed


@pytest.mark.parametrize("kind", [0, 1, 30, 8, 2, 3], ids=["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_each_type_of_numbers_is_read_as_the_format_says(tmp_path, kind):
    numbers = (np.arange(64) % 8 / 2 - 1).astype(np.float32)
    if kind in (0, 1):
        data = numbers.astype([np.float32, np.float16][kind]).tobytes()
    elif kind == 30:
        data = torch.from_numpy(numbers).bfloat16().view(torch.int16).numpy().tobytes()
    else:
        data = block(numbers[:32], kind) + block(numbers[32:], kind)
    (tmp_path / "a.gguf").write_bytes(gguf(b"", 0, entry(b"t", [32, 2], kind, 0), 1, data))
    assert read_gguf(tmp_path / "a.gguf").source.read("t").equal(torch.from_numpy(numbers.reshape(2, 32)))
