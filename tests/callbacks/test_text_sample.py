import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.callbacks import TextAnswer, TextFigure, TextSample, Throughput
from project.callbacks.throughput import flops_per_token
from project.models.next_logits import TorchLogits
from project.nets import GPT, LoRA
from project.text.writing import Writing, generate_texts
from tests.callbacks.fitting import MemoryLogger
from tests.callbacks.test_text_answer import fit_text, text  # noqa: F401 (a fixture)

CONTEXT = 16


@pytest.fixture
def fitted(text, folder):  # noqa: F811
    """A short training with its events."""
    answer = TextAnswer()
    figure, memory = TextFigure(answer), MemoryLogger()
    callbacks = answer, figure, TextSample(), Throughput()
    data = text()
    trainer = fit_text(data, *callbacks, logger=[TensorBoardLogger("logs", version=0), memory])
    events = EventAccumulator(str(folder / "logs/lightning_logs/version_0"), size_guidance={"tensors": 0}).Reload()
    return trainer, data, figure, memory, events


def test_curves_samples_and_the_figure_of_a_training(fitted):
    trainer, data, figure, memory, events = fitted
    losses = memory.metrics["val/bits_per_byte"]
    # Two epochs of three batches of 16 windows.
    assert figure.points == [(3 * 16 * CONTEXT, losses[2]), (6 * 16 * CONTEXT, losses[5])]
    assert events.Images("bits per byte")[0].step == 6
    speeds = memory.metrics["tokens_per_second"]
    assert speeds.keys() == losses.keys()
    assert min(speeds.values()) > 0
    assert "mfu" not in memory.metrics, "nobody knows the peak of a CPU"
    samples = events.Tensors("sample/text_summary")
    assert [sample.step for sample in samples] == [2, 5]
    net = trainer.lightning_module.net.net
    [expected] = generate_texts("", TorchLogits(net, CONTEXT), data.tokenizer, Writing(max_tokens=64))
    written = samples[-1].tensor_proto.string_val[0].decode()
    assert written == "".join(f"    {line}" for line in expected.text.splitlines(keepends=True))


def test_a_sample_leaves_random_numbers_and_training_as_they_are(text):  # noqa: F811
    found = []
    for callbacks in ([], [TextSample()]):
        trainer = fit_text(text(), *callbacks, logger=TensorBoardLogger("logs"))
        found.append([*trainer.lightning_module.state_dict().values(), torch.get_rng_state()])
    assert all(one.equal(other) for one, other in zip(*found, strict=True))


def test_a_token_takes_twice_its_products_forwards_and_twice_that_backwards():
    width, layers, length, vocabulary = 8, 2, 16, 50
    net = GPT((length,), vocabulary, width=width, layers=layers, heads=2, positions="learned")
    products = layers * (4 * width**2 + 8 * width**2) + width * vocabulary  # without embeddings, which are looked up
    attention = layers * 2 * width * length  # of queries with keys, and of weights with values
    assert flops_per_token(net, length) == 6 * (products + attention)
    tied = GPT((length,), vocabulary, width=width, layers=layers, heads=2, tied=True)
    assert flops_per_token(tied, length) == 6 * (products + attention)
    lora = LoRA((length,), vocabulary, lambda *_, **__: tied, rank=1)  # frozen weights have no gradients
    adapters = sum(weight.numel() for part in (lora.down, lora.up) for weight in part.values())
    adapted = 4 * products + 6 * (adapters + attention)
    assert flops_per_token(lora, length) == adapted
    quantized = LoRA((length,), vocabulary, lambda *_, **__: tied, rank=1, bits=8)
    assert flops_per_token(quantized, length) == adapted, "frozen weights in 8 bits take the same products"
    assert flops_per_token(torch.nn.Linear(2, 2), length) is None
