"""Small public models for tests: folders with random weights and a tokenizer of bytes."""

import json
from pathlib import Path

VOCABULARY = 300
TEXT = "The capital of France is Paris, and 1 + 1 = 2.\n\tStraße, 你好!"


def write_tokenizer(folder: Path, merges: int = 20, front: bool = False) -> str:
    """Write a tokenizer.json of bytes, as GPT-2 has it; return its content."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    size = 258 + merges
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|endoftext|>", "<|begin|>"], initial_alphabet=letters, show_progress=False
    )
    library.train_from_iterator([TEXT * 3, "low lower lowest " * 20], trainer)
    if front:
        library.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 1)])
    library.save(str(folder / "tokenizer.json"))
    return library.to_str()


def llama_config(**changes) -> dict:
    """A config.json as transformers writes it."""
    return {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "eos_token_id": 0,
        **changes,
    }


def write_llama(folder: Path, **changes) -> Path:
    """Write a folder of a small Llama with random weights, without transformers."""
    import torch
    from safetensors.torch import save_file

    from project.nets.gpt import GPT
    from project.public_weights.families import gpt_arguments
    from project.public_weights.layouts import LLAMA

    folder.mkdir(exist_ok=True)
    config = llama_config(**changes)
    torch.manual_seed(0)
    net = GPT((64,), config["vocab_size"], **gpt_arguments(config, "config.json"))
    state = {name: value for name, value in net.state_dict().items() if name != "head.weight"}
    save_file(dict(LLAMA.write(state, {})), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return folder


def opened(reference: str) -> tuple:
    """Return the network, the context and the tokenizer of a run or of public weights."""
    from project.inference.generate import open_language_model

    logits, tokenizer = open_language_model(reference)
    return logits.net, logits.context, tokenizer
