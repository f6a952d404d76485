"""Logits of every family are those of transformers, which runs these tests only where it is installed."""

import pytest
import torch

from project.inference.generate import generate, open_language_model
from project.models.next_logits import TorchLogits
from project.text import JsonTokenizer
from tests.public_weights.folders import TEXT, VOCABULARY, write_tokenizer

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "eos_token_id": 0,
    "bos_token_id": 0,
    "pad_token_id": 0,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "vocab_size": VOCABULARY, "eos_token_id": 0}
LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "factor": 8.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 32}
FAMILIES = {
    "gpt2": ("GPT2Config", GPT2 | {"bos_token_id": 0}),
    "llama": ("LlamaConfig", SIZES | {"rms_norm_eps": 1e-5}),
    "llama linear": (
        "LlamaConfig",
        SIZES | {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
    ),
    "llama 3": (
        "LlamaConfig",
        SIZES | {"rope_parameters": LLAMA3 | {"rope_theta": 1e4, "original_max_position_embeddings": 32}},
    ),
    "llama with biases": ("LlamaConfig", SIZES | {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    "smollm": ("LlamaConfig", SIZES | {"tie_word_embeddings": True}),
    "mistral": ("MistralConfig", SIZES | {"sliding_window": 9}),
    "qwen2": ("Qwen2Config", SIZES | {"rope_parameters": YARN}),
    "qwen3": ("Qwen3Config", SIZES | {"head_dim": 16, "tie_word_embeddings": True}),
}


def write_reference(folder, family):
    """Write a folder with transformers; return its model."""
    transformers = pytest.importorskip("transformers")
    name, arguments = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, name)(**arguments)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size="40KB")
    write_tokenizer(folder)
    return model


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_texts_are_those_of_transformers(tmp_path, family):
    model = write_reference(tmp_path, family)
    next_logits, tokenizer = open_language_model(str(tmp_path))
    assert isinstance(next_logits, TorchLogits)
    net, context = next_logits.net, next_logits.context
    x = torch.randint(VOCABULARY, (2, 50), generator=torch.Generator().manual_seed(1))
    expected = model(x).logits
    assert context == 128
    assert (net(x) - expected).abs().max() <= 3e-6 * expected.abs().max()
    prompt = torch.tensor([tokenizer.prompt(TEXT.encode())])
    reference = model.generate(prompt, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :].tolist()
    assert generate(str(tmp_path), TEXT, temperature=0, max_tokens=12)[0].tokens == reference


def test_the_tokenizer_is_that_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    text = write_tokenizer(tmp_path, front=True)
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert JsonTokenizer(text, size=VOCABULARY, begins=None).prompt(TEXT.encode()) == reference(TEXT)["input_ids"]
