"""A language model as one file, with its cache as inputs and outputs, that writes what the run writes."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import project
from project.exporting.formats import save_onnx
from project.exporting.text_export import check_text_onnx, write_text_onnx
from project.nets import GPT, MLP
from project.runtime.errors import UserError
from project.serving.limits import LIMITS
from project.serving.memory import MemoryBudget
from project.serving.metadata import read_metadata
from project.serving.text_artifact import TextArtifact
from project.serving.text_model import TextModel
from tests.inference.test_generate import ARGS, CONTEXT, SONG
from tests.serving.artifacts import metadata
from tests.trained import trained

VOCABULARY = 257
GPT2 = partial(GPT, positions="learned", norm="layer", bias=True, qk_norm=False, feed_forward="gelu", tied=True)
NETS = {
    "Llama's family": partial(GPT, kv_heads=2, feed_forward="swiglu", qk_norm=False),
    "GPT-2's family": GPT2,
    "a sliding window": partial(GPT, window=5, kv_heads=1),
}
DESCRIBED = metadata(["tokens"], ["next tokens"], in_shape=[CONTEXT], out_features=VOCABULARY, dynamic_length=True)
DESCRIBED |= {"task": "language modelling", "fields": [{"tokenizer": {"kind": "bytes"}}]}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run, and the file that it was exported to."""
    folder = tmp_path_factory.mktemp("song")
    (folder / "song.txt").write_text(SONG, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = Path(trained([*ARGS, "--data.path", str(folder / "song.txt")])).absolute()
        exported = project.export(str(run), folder / "song.onnx")
    assert exported.difference < 1e-5
    return str(run), str(exported.path)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"seed": 3}, {"seed": 4, "stop": ["wall"]}], ids=str)
def test_the_file_writes_what_the_run_writes(written, options):
    texts = [project.generate(name, SONG[:50], max_tokens=3 * CONTEXT, count=2, **options) for name in written]
    for ours, theirs in zip(*texts, strict=True):
        assert ours.text == theirs.text
        assert ours.tokens == theirs.tokens
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)


def test_any_number_of_texts_and_tokens_is_computed_with_any_past(written):
    artifact = TextArtifact(written[1])
    rows = np.random.default_rng(0).integers(0, VOCABULARY, (5, CONTEXT))
    whole = artifact.predict(rows)["outputs"]
    for sizes in ([1] * CONTEXT, [3, 1, 12], [CONTEXT - 1, 1]):
        cache, parts, start = artifact.cache(*rows.shape), [], 0
        for size in sizes:
            parts.append(cache.step(rows[:, start : start + size]))
            start += size
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=1e-4)


def test_texts_of_requests_that_come_and_go_are_those_written_alone(written):
    model = TextModel(TextArtifact(written[1]), LIMITS, MemoryBudget(LIMITS.memory, LIMITS.seconds))
    asked = [
        {
            "prompt": SONG[seed : 3 * seed + 1],
            "seed": seed,
            "n": 1 + seed % 2,
            "max_tokens": 10 + 9 * seed,
            "stream": True,
        }
        for seed in range(7)  # the last ones go on beyond the context
    ]
    found: list[list[Any]] = [[] for _ in asked]

    def take(number: int, piece: Any) -> None:
        found[number].append(piece)
        if number == 3 and len(found[3]) == 5:
            jobs[3].stopped = True
        if number == 0 and len(found[0]) == 4:  # while the first one is being written
            for other in range(1, len(asked)):
                begin(other)

    def begin(number: int) -> None:
        request = model.read("/v1/completions", bytearray(json.dumps(asked[number]).encode()))
        jobs[number] = model.batch.add(request, partial(take, number), threads)

    jobs: dict[int, Any] = {}
    with ThreadPoolExecutor(1) as threads:
        begin(0)
    assert len(found[3]) == 5  # nobody waited any longer
    for number, request in enumerate(asked):
        count, tokens = request["n"], request["max_tokens"]
        settings = {"temperature": 1, "top_k": 0, "top_p": 1, "seed": request["seed"], "count": count}
        alone = project.generate(written[1], request["prompt"], max_tokens=tokens, **settings)
        for place, text in enumerate(alone):
            pieces = [piece for piece in found[number] if piece.number == place]
            assert text.text.startswith("".join(piece.text for piece in pieces))
            assert number == 3 or [token for piece in pieces for token in piece.tokens] == text.tokens


@pytest.mark.slow
def test_the_file_is_evaluated_compared_and_quantized_as_the_run(written):
    run, file = written
    expected, rows = project.evaluate(run)
    found, same_rows = project.evaluate(file)
    assert (found, same_rows) == (pytest.approx(expected, rel=1e-5), rows)
    small = project.quantize(file)
    assert small.after.bytes < 0.6 * small.before.bytes
    assert small.after.metrics["test/bits_per_byte"] == pytest.approx(expected["test/bits_per_byte"], rel=0.05)
    assert project.generate(str(small.path), SONG[:50], temperature=0, max_tokens=20)[0].text
    figures = project.compare([file, str(small.path)])
    assert [list(figure.milliseconds) for figure in figures] == [[1], [1]]


@pytest.mark.parametrize(
    ("verb", "problem"),
    [
        (lambda run, file: project.predict(file, "rows.csv", Path("out.csv")), "predicts no rows; continue texts"),
        (lambda run, file: project.export(run, format="pt2"), "--format pt2: a language model is exported as onnx"),
        (lambda run, file: project.quantize(file, method="static"), "--method static: is for rows of numbers"),
    ],
    ids=["predict", "pt2", "static"],
)
def test_what_makes_no_sense_is_one_line(written, tmp_path, verb, problem):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match=problem) as caught:
        verb(*written)
    assert "\n" not in str(caught.value)


def test_a_file_with_another_weight_is_not_taken(written, tmp_path):
    model, path = onnx.load(written[1]), tmp_path / "other.onnx"
    largest = max(model.graph.initializer, key=lambda weight: len(weight.raw_data))
    values = numpy_helper.to_array(largest).copy()
    values[values.shape[0] // 2] += 0.05
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))
    save_onnx(path, model, read_metadata(written[1]))
    with pytest.raises(UserError, match="logits of the file differ from the network's by"):
        check_text_onnx(path, TextArtifact(written[1]), np.arange(2 * CONTEXT).reshape(2, CONTEXT))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_public_families_are_exported(tmp_path, name):
    torch.manual_seed(0)
    net = NETS[name]((CONTEXT,), VOCABULARY, width=16, layers=2, heads=2, zero_init=False).eval()
    path = tmp_path / "model.onnx"
    write_text_onnx(path, net, DESCRIBED)  # type: ignore[arg-type]
    assert check_text_onnx(path, net, np.arange(2 * CONTEXT).reshape(2, CONTEXT)) < 1e-5


def test_a_network_without_a_cache_is_one_line(tmp_path):
    net = MLP((CONTEXT,), VOCABULARY)
    with pytest.raises(UserError, match="--model.net MLP: has no cache of keys and values; only GPT can be exported"):
        write_text_onnx(tmp_path / "model.onnx", net, DESCRIBED)  # type: ignore[arg-type]
