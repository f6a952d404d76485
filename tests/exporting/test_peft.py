"""Adapters in the layout of peft: written, read back, and read by peft where it is installed."""

import json
import shutil
from contextlib import chdir, redirect_stdout
from io import StringIO

import pytest
import torch
from safetensors.torch import load_file, save_file

from project.exporting.export import export
from project.runtime.errors import UserError
from project.stages.finetune import finetune
from tests.public_weights.folders import TEXT, opened, write_llama


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a public model, a run of adapters for it, and these as peft has them."""
    folder = tmp_path_factory.mktemp("peft")
    base = write_llama(folder / "base", tie_word_embeddings=True)
    (folder / "text.txt").write_text(TEXT * 40)
    options = ["--data.path=text.txt", "--data.context=16", "--trainer.max_epochs=1", "--data.cache=cache"]
    with chdir(folder), redirect_stdout(StringIO()):
        finetune(str(base), 2, [*options, "--optimizer.lr=0.05", "--trainer.accelerator=cpu"])
        run = str(folder / "lightning_logs/version_0")
        assert export(run, folder / "adapter", "peft").difference == 0
    return folder, run


@torch.no_grad()
def test_adapters_read_back_are_the_run(written):
    folder, run = written
    x = torch.randint(300, (2, 16))
    (net, _, tokenizer), (other, _, its_tokenizer), (base, *_) = (
        opened(str(where)) for where in (run, folder / "adapter", folder / "base")
    )
    torch.testing.assert_close(other(x), net(x), rtol=0, atol=0)
    assert not torch.allclose(base(x), net(x), atol=1e-3)
    assert its_tokenizer.pieces == tokenizer.pieces
    tensors = load_file(folder / "adapter/adapter_model.safetensors")
    assert len(tensors) == 2 * 2 * 7
    weight = (
        tensors["base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"]
        @ (tensors["base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"])
    )
    change = net.blocks[1].feed_forward.up.weight - base.blocks[1].feed_forward.up.weight
    torch.testing.assert_close(16 * weight, change, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_peft_computes_the_same_logits(written):
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    folder, run = written
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", attn_implementation="eager")
    model = peft.PeftModel.from_pretrained(model, folder / "adapter").eval()
    x = torch.randint(300, (2, 16))
    expected = model(x).logits
    assert (opened(run)[0](x) - expected).abs().max() <= 3e-6 * expected.abs().max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"base_model_name_or_path": "someone/model"},
            "its base model 'someone/model' is not a folder with a config.json",
        ),
        ({"use_dora": True}, "adapters with use_dora True are not supported; merge them with peft"),
        ({"r": 3}, "the adapter 'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight' does not fit"),
        ({"r": 0}, "r 0 and lora_alpha 32.0 must be positive numbers; write the adapters again"),
    ],
)
def test_other_adapters_are_one_line(written, tmp_path, change, message):
    shutil.copytree(written[0] / "adapter", tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(settings | change))
    with pytest.raises(UserError, match=message):
        opened(str(tmp_path / "adapter"))


def test_an_adapter_of_an_unknown_layer_is_named(written, tmp_path):
    shutil.copytree(written[0] / "adapter", tmp_path / "adapter")
    path = tmp_path / "adapter/adapter_model.safetensors"
    save_file({**load_file(path), "base_model.model.x.lora_A.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(UserError, match="the adapter 'base_model.model.x.lora_A.weight' does not fit the base model"):
        opened(str(tmp_path / "adapter"))


def test_adapters_of_a_run_of_ours_have_no_base_for_peft(written, tmp_path):
    with pytest.raises(UserError, match="--format peft: needs adapters of a Hugging Face folder"):
        export(str(written[0] / "base"), tmp_path / "adapter", "peft")
