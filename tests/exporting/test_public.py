"""Language models as public models: a folder and GGUF files, read back by this project and by transformers."""

import pytest
import torch

from project import export, train
from project.inference.generate import generate
from project.runtime.errors import UserError
from tests.public_weights.folders import TEXT, opened, write_llama, write_tokenizer

NETS = {
    "default": [],
    "gpt2": ["positions learned", "norm layer", "bias true", "qk_norm false", "feed_forward gelu", "tied true"],
    "llama": ["feed_forward swiglu", "qk_norm false", "kv_heads 2"],
    "qwen": ["feed_forward swiglu", "tied true", "head_width 16"],
    "qwen2": ["feed_forward swiglu", "qk_norm false", "qkv_bias true"],
    "mistral": ["feed_forward swiglu", "qk_norm false", "window 5"],
}
GGUF = ["gpt2", "llama", "qwen", "qwen2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of each net, whose weights are random."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT * 60)
    write_tokenizer(folder)

    def run(name):
        if not (folder / name).exists():
            tokenizer = {"gpt2": "bytes", "llama": str(folder / "tokenizer.json")}.get(name, "bpe")
            data = [f"--data.path={folder / 'text.txt'}", f"--data.tokenizer={tokenizer}", "--data.context=24"]
            net = [f"--model.net.{part.replace(' ', '=')}" for part in NETS[name]]
            sizes = ["--model.net.width=32", "--model.net.layers=2", "--model.net.zero_init=false"]
            sizes += [
                "--data.vocab_size=270",
                "--trainer.max_epochs=1",
                "--optimizer.lr=0.01",
                "--trainer.accelerator=cpu",
            ]
            root = [f"--trainer.default_root_dir={folder / name}"]
            train(["--data=TextDataModule", "--model=LanguageModel", *data, *net, *sizes, *root])
        return str(next((folder / name).glob("**/checkpoints")).parent)

    return run


@torch.no_grad()
def same_model(run, path):
    """Whether a run and public weights compute the same logits and write the same text."""
    (net, context, tokenizer), (other, its_context, its_tokenizer) = map(opened, (run, path))
    x = torch.randint(net.out_features, (2, context))
    assert (its_context, its_tokenizer.pieces) == (context, tokenizer.pieces)
    assert its_tokenizer.prompt(TEXT.encode()) == tokenizer.prompt(TEXT.encode())
    torch.testing.assert_close(other(x), net(x), rtol=0, atol=0)
    first, second = (generate(where, "The", max_tokens=12, seed=3) for where in (run, path))
    return first == second


def slow_except(kept, names):
    return [name if name in kept else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_except(("llama",), NETS))
def test_a_folder_read_back_is_the_same_model(runs, tmp_path, name):
    exported = export(runs(name), tmp_path / "folder", "huggingface")
    assert exported.difference == 0
    assert same_model(runs(name), str(tmp_path / "folder"))


@pytest.mark.parametrize("name", slow_except(("llama",), GGUF))
def test_a_gguf_file_of_32_bits_read_back_is_the_same_model(runs, tmp_path, name):
    assert export(runs(name), tmp_path / "model.gguf", "gguf-f32").difference == 0
    assert same_model(runs(name), str(tmp_path / "model.gguf"))


@torch.no_grad()
def test_smaller_numbers_are_close(runs, tmp_path):
    run = runs("llama")
    net, context, _ = opened(run)
    x, sizes = torch.randint(net.out_features, (2, context)), [0]
    for format, tolerance in {"gguf-q8_0": 0.05, "gguf": 0.002, "gguf-f32": 0.0}.items():
        path = tmp_path / f"{format}.gguf"
        assert export(run, path, format).difference <= tolerance
        other = opened(str(path))[0]
        assert (other(x) - net(x)).abs().max() <= tolerance * net(x).abs().max()
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes)


@torch.no_grad()
@pytest.mark.parametrize("name", NETS)
def test_transformers_computes_the_same_logits(runs, tmp_path, name):
    transformers = pytest.importorskip("transformers")
    export(runs(name), tmp_path / "folder", "huggingface")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder", attn_implementation="eager")
    net, context, tokenizer = opened(runs(name))
    x = torch.randint(net.out_features, (2, context))
    expected = model(x).logits
    assert (net(x) - expected).abs().max() <= 3e-6 * expected.abs().max()
    reference = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "folder")
    assert reference(TEXT)["input_ids"] == tokenizer.prompt(TEXT.encode())


def test_public_weights_can_be_written_again(tmp_path):
    public = write_llama(tmp_path / "llama")
    export(str(public), tmp_path / "again", "huggingface")
    export(str(tmp_path / "again"), tmp_path / "again.gguf", "gguf-f32")
    assert same_model(str(public), str(tmp_path / "again.gguf"))
    assert (tmp_path / "again" / "config.json").is_file()


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("default", "gguf", "llama.cpp does not support this network; train with --model.net.feed_forward swiglu"),
        ("mistral", "gguf", "llama.cpp does not support this network"),
    ],
)
def test_networks_of_no_family_are_one_line(runs, tmp_path, name, format, message):
    with pytest.raises(UserError, match=message):
        export(runs(name), tmp_path / "model.gguf", format)
    assert not [*tmp_path.iterdir()]


def test_a_folder_with_other_files_is_not_written_to(runs, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="contains something other than public weights"):
        export(runs("llama"), tmp_path, "huggingface")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
