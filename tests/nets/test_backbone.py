"""Networks of timm. Without timm, or with a torchvision of another build than torch, all but one test are skipped."""

import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file

from project.inference.evaluate import evaluate
from project.nets import Backbone
from project.runs.checkpoint import read_checkpoint
from project.training.train import train
from tests.data.images import write_images

NAME = "test_resnet"  # of timm's own tests, 0.5 M parameters


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", exc_type=(ImportError, RuntimeError))


@pytest.fixture
def pretrained(timm, folder):
    """A network of timm in evaluation mode, and the file of its weights."""
    torch.manual_seed(1)
    model = timm.create_model(NAME, pretrained=False).eval()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "known.safetensors")
    return model, str(folder / "known.safetensors")


def features(model, x):
    return model.forward_head(model.forward_features(x), pre_logits=True)


def test_a_missing_timm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"timm cannot be imported .* run pip install"):
        Backbone((3, 32, 32), 2)


def test_pixels_are_scaled_as_the_pretrained_weights_need_it(timm, pretrained):
    model, path = pretrained
    net = Backbone((3, 32, 32), 4, NAME, path).eval()
    x = torch.rand(2, 3, 32, 32) * 255
    mean, std = (torch.tensor(model.pretrained_cfg[part])[:, None, None] for part in ("mean", "std"))
    expected = features(model, (x / 255 - mean) / std)
    assert torch.allclose(net(x), net.head(expected), atol=1e-5)


def test_weights_with_other_names_are_taken_in_order(timm, pretrained, folder):
    model, path = pretrained
    state = {f"part_{number:03}": value for number, value in enumerate(model.state_dict().values())}
    torch.save({"state_dict": state}, folder / "other.pth")
    x = torch.rand(2, 3, 32, 32) * 255
    torch.manual_seed(0)
    expected = Backbone((3, 32, 32), 4, NAME, path).eval()(x)
    torch.manual_seed(0)
    assert Backbone((3, 32, 32), 4, NAME, str(folder / "other.pth")).eval()(x).equal(expected)


def test_a_grey_image_has_the_features_of_the_same_image_in_colours(timm, pretrained):
    _, path = pretrained
    grey, colours = (Backbone((channels, 32, 32), 4, NAME, path).eval() for channels in (1, 3))
    colours.mean.fill_(120.0)  # alike in all colours, as the first layer sums over them
    colours.std.fill_(60.0)
    grey.mean.fill_(120.0)
    grey.std.fill_(60.0)
    x = torch.rand(2, 1, 32, 32) * 255
    assert torch.allclose(grey.body((x - 120) / 60), colours.body((x.expand(-1, 3, -1, -1) - 120) / 60), atol=1e-5)


def test_mistakes_are_named(timm, pretrained, folder):
    with pytest.raises(ValueError, match="timm has no network 'resnet8'; similar are .*resnet"):
        Backbone((3, 32, 32), 2, "resnet8")
    with pytest.raises(ValueError, match="rows must be images"):
        Backbone((5,), 2)
    with pytest.raises(ValueError, match="weights of another network"):
        Backbone((3, 32, 32), 2, "test_vit", pretrained[1])
    (folder / "page.pth").write_text("<html>")
    with pytest.raises(ValueError, match="page.pth: cannot be read as weights"):
        Backbone((3, 32, 32), 2, NAME, str(folder / "page.pth"))


def test_a_frozen_backbone_keeps_its_weights_and_statistics_and_the_run_needs_no_file(timm, pretrained, folder):
    model, path = pretrained
    write_images(folder / "pictures", count=8, side=32)
    args = ["--data", "ImageDataModule", "--data.path", "pictures", "--data.cache", "cache", "--model.net", "Backbone"]
    args += ["--model.net.name", NAME, "--model.net.weights", path, "--finetuning.freeze", "[backbone]"]
    metrics = train([*args, "--data.channels", "3", "--trainer.max_epochs", "2"])
    state = read_checkpoint(folder / "lightning_logs/version_0/checkpoints/last.ckpt")["state_dict"]
    assert all(
        state[f"net.net.body.{name}"].equal(value) for name, value in model.state_dict().items() if "fc" not in name
    )
    assert state["net.features.mean"].equal(torch.tensor(0.0))
    shutil.move(path, folder / "elsewhere.safetensors")
    assert evaluate("last")[0]["test/loss"] == pytest.approx(metrics["test/loss"])
