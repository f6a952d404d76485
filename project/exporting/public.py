"""Export a language model in the formats of public models: a folder that `transformers` reads, or a GGUF file."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from project.models.language_model import LanguageModel
from project.nets.gpt import GPT
from project.public_weights.configs import gguf_facts, model_config
from project.public_weights.gguf_file import library
from project.public_weights.layouts import GGUF_LAYOUTS, LAYOUTS
from project.public_weights.model import PREFIX, open_public
from project.runs.checkpoint import CONFIG_KEY, DATA_KEY, load_model
from project.runtime.errors import UserError
from project.runtime.files import atomic_write, check_folder
from project.text import Tokenizer, tokenizer_from_dict
from project.text.to_json import tokenizer_json

FOLDER = "huggingface"
GGUF_FORMATS = {"gguf": "F16", "gguf-q8_0": "Q8_0", "gguf-f32": "F32"}
TOLERANCES = {"F32": 0.0, "F16": 2**-11, "Q8_0": 1 / 200}  # of the largest weight of a tensor
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


class _Public:
    """A language model with the configuration and the names of public models."""

    def __init__(self, checkpoint: Mapping[str, Any]) -> None:
        model = load_model(checkpoint, trusted=None)
        fields = checkpoint[DATA_KEY].get("fields") or [{}]
        if not (
            isinstance(model, LanguageModel) and isinstance(net := model.net.net, GPT) and "tokenizer" in fields[0]
        ):
            raise UserError("--format: needs a language model with the net GPT and a tokenizer")
        self.tokenizer: Tokenizer = tokenizer_from_dict(fields[0]["tokenizer"])
        self.arguments = _arguments(yaml.safe_load(checkpoint[CONFIG_KEY]))
        stops = [self.tokenizer.end, *sorted(self.tokenizer.stops - {self.tokenizer.end})]
        self.config = model_config(self.arguments, net.in_shape[0], net.out_features, stops)
        self.state = {name: value.float() for name, value in net.state_dict().items()}
        if self.arguments["tied"]:
            del self.state["head.weight"]
        if self.config.get("hidden_act") == "relu":
            gates = {name.replace(".up.", ".gate."): value for name, value in self.state.items() if ".up." in name}
            self.state |= gates
        kv_heads = self.arguments["kv_heads"] or self.arguments["heads"]
        self.heads = {"attention.query": self.arguments["heads"], "attention.key": kv_heads}

    def difference(self, path: Path, kind: str) -> float:
        """Read the weights back, and return their largest difference, relative to the largest weight of a tensor.

        Raises:
            UserError: If it is larger than the type of number explains.
        """
        written, largest = open_public(path).state, 0.0
        for name, value in self.state.items():
            if PREFIX + name in written:
                change = (written[PREFIX + name] - value).abs().max() / value.abs().max().clamp(min=1e-30)
                largest = max(largest, change.item())
        if not largest <= TOLERANCES[kind]:
            raise UserError(f"{path}: its weights differ from the network's by {largest:.1e}; export it as F32")
        return largest


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of the `GPT` of a run, inside of adapters or not."""
    net = config["model"]["init_args"].get("net") or {}
    while "net" in (net.get("init_args") or {}):
        net = net["init_args"]["net"]
    defaults = {name: parameter.default for name, parameter in inspect.signature(GPT).parameters.items()}
    return defaults | (net.get("init_args") or {})


def write_folder(folder: Path, checkpoint: Mapping[str, Any]) -> float:
    """Write a language model to a folder in Hugging Face's layout; return how much its weights differ (0)."""
    from safetensors.torch import save_file

    check_folder(folder, "public weights", FILES[0], *FILES)
    public = _Public(checkpoint)
    tensors = dict(LAYOUTS[public.config["model_type"]].write(public.state, public.heads))
    text = tokenizer_json(public.tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "model.safetensors") as temporary:
        save_file({name: value.clone() for name, value in tensors.items()}, temporary, {"format": "pt"})
    tokenizer = public.tokenizer
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": tokenizer.eos or None}
    settings |= {"bos_token": tokenizer.bos or None}
    if tokenizer.chat_template is not None:
        settings["chat_template"] = tokenizer.chat_template
    contents = {"tokenizer.json": text, "tokenizer_config.json": json.dumps(settings, indent=2)}
    for name, content in (contents | {"config.json": json.dumps(public.config, indent=2)}).items():
        with atomic_write(folder / name) as temporary:  # config.json, which makes it a model, comes last
            temporary.write_text(content, encoding="utf-8")
    return public.difference(folder / "config.json", "F32")


def write_gguf(path: Path, checkpoint: Mapping[str, Any], kind: str) -> float:
    """Write a language model to a GGUF file, its matrices as `kind`; return how much its weights differ, relatively."""
    gguf, public = library(), _Public(checkpoint)
    family = public.config["model_type"]
    writer = gguf.GGUFWriter(path, family)
    for name, value in gguf_facts(public.config).items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(name, value)
    _add_tokenizer(writer, public)
    for name, tensor in GGUF_LAYOUTS[family].write(public.state, public.heads):
        values, own = tensor.numpy(), "F32" if tensor.ndim == 1 else kind
        if own == "Q8_0" and tensor.shape[-1] % 32:
            own = "F16"
        number = gguf.GGMLQuantizationType[own]
        writer.add_tensor(name, gguf.quants.quantize(values, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return public.difference(path, kind)


def _add_tokenizer(writer: Any, public: _Public) -> None:
    """Add the tokenizer in GGUF's own fields, and as a `tokenizer.json`, which defines exactly how it splits text."""
    text = tokenizer_json(public.tokenizer)
    description = json.loads(text)
    added = {token["id"]: token for token in description["added_tokens"]}
    names = {number: name for name, number in description["model"]["vocab"].items()}
    names |= {number: token["content"] for number, token in added.items()}
    count = public.config["vocab_size"]
    kinds = dict.fromkeys(names, 1) | {number: 3 if token["special"] else 4 for number, token in added.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(count)])
    writer.add_token_types([kinds.get(number, 5) for number in range(count)])
    merges = description["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    tokenizer = public.tokenizer
    writer.add_eos_token_id(tokenizer.special.get(tokenizer.eos, tokenizer.end))
    if (bos := tokenizer.end if tokenizer.begins else tokenizer.special.get(tokenizer.bos)) is not None:
        writer.add_bos_token_id(bos)
    writer.add_add_bos_token(tokenizer.begins)
    writer.add_string("tokenizer.huggingface.json", text)
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)
