"""Hostile configurations run no code, fetch nothing, and do not hang a command."""

import pytest

from project.runtime.errors import UserError
from project.training.train import train
from tests.scripts.hostile import LAUGHS, SHORT, YAMLS, hostile_config, refused

SECTIONS = [
    *("model", "data", "optimizer", "lr_scheduler"),
    *(f"trainer.{name}" for name in ("callbacks", "logger", "plugins", "profiler", "strategy", "accelerator")),
    *("model.net", "model.loss", "trainer.callbacks.on_fit_start", "trainer.callbacks.0", "trainer.logger.0"),
]
PATHS = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "jsonargparse.set_parsing_settings",
    "torch.hub.load",
    "torch.serialization.load",
    "torch.nn.functional.torch.hub.load",
    "torch.nn.functional.torch.from_file",
    "torch.nn.modules.module.os.system",
    "lightning.pytorch.strategies.ddp.torch.load",
    "lightning.pytorch.callbacks.timer.re.sys.modules",
    "lightning.pytorch.callbacks.ModelCheckpoint.load_state_dict",
    "torch.nn.Module.load_state_dict",
    "project.data.table.pa.OSFile",
    "project.runs.checkpoint.load_model",
    "project.training.train.train",
    "antigravity.fly",
    "planted.Net",
]


def spread(first, second, every=7):
    """Return all pairs of two lists; the quick suite takes one of `every` pairs: each value of both comes up."""
    pairs = [(a, b, (i + j) % every) for i, a in enumerate(first) for j, b in enumerate(second)]
    return [pytest.param(a, b, marks=[pytest.mark.slow] if skipped else []) for a, b, skipped in pairs]


@pytest.mark.parametrize(("section", "path"), spread(SECTIONS, PATHS))
def test_a_class_path_outside_known_modules_is_refused(marker, section, path):
    marker.with_name("config.yaml").write_text(hostile_config(section, path, marker))
    with pytest.raises(UserError) as caught:
        train(["--config", "config.yaml", *SHORT])
    assert str(caught.value).startswith(f"--{section.removesuffix('.0')}")


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_runs_no_code_and_does_not_hang(marker, name):
    text, message = YAMLS[name]
    marker.with_name("hostile.yaml").write_text(text)
    for given in ("hostile.yaml", text if "\n" in text else text + "\n"):
        with pytest.raises(UserError) as caught:
            train(["--config", given, *SHORT])
        assert message in str(caught.value) or "planted" in str(caught.value)
        assert "and more" not in str(caught.value)


@pytest.mark.parametrize("section", ["model", "trainer", "data"])
def test_a_yaml_file_given_for_a_section_is_checked_too(marker, section):
    marker.with_name("hostile.yaml").write_text(LAUGHS)
    marker.with_name("outer.yaml").write_text(f"{section}: hostile.yaml\n")
    with pytest.raises(UserError, match="expands to more than"):
        train(["--config", "outer.yaml", *SHORT])


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/a.ckpt", "https://x.invalid/a.ckpt", "s3://b/a.ckpt", "gs://b/a"]
)
def test_no_url_is_fetched(marker, monkeypatch, address):
    def connect(*_):
        marker.touch()
        raise AssertionError

    monkeypatch.setattr("socket.socket.connect", connect)
    refused(address, "no such run or checkpoint")
    for args in (["--config", address], ["--config", f"model: {address}\n"]):
        with pytest.raises(UserError):
            train([*args, *SHORT])
