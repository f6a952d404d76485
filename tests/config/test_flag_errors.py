"""A mistake in a flag is one line; a defect in somebody's code keeps its traceback."""

import traceback

import pytest

from project.runtime.errors import UserError
from project.stages.base import parse
from project.training.train import train

OWN = """
import lightning
from project.nets import Linear


class Own(Linear):
    def __init__(self, in_shape, out_features, kind: str = "key"):
        super().__init__(in_shape, out_features)
        if kind == "key":
            {}["width"]
        elif kind == "attribute":
            self.nothing
        elif kind == "torch":
            Linear((3,), "two")
        else:
            raise {"value": ValueError, "type": TypeError, "assertion": AssertionError}[kind]("of my own")


class OwnCallback(lightning.pytorch.Callback):
    def __init__(self, number: int = 1):
        raise ValueError("of my own")
"""


@pytest.fixture
def own(folder):
    (folder / "own.py").write_text(OWN)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("key", KeyError),
        ("attribute", AttributeError),
        ("torch", TypeError),
        ("value", ValueError),
        ("type", TypeError),
        ("assertion", AssertionError),
    ],
)
def test_an_exception_in_the_constructor_of_a_users_network_keeps_its_traceback(own, kind, expected):
    with pytest.raises(expected) as caught:
        train(["--trust", "own", "--model.net", "own.Own", "--model.net.kind", kind])
    assert type(caught.value) is expected
    assert "own.py" in "".join(traceback.format_exception(caught.value))


def test_an_exception_in_the_constructor_of_a_users_callback_keeps_its_traceback(own):
    with pytest.raises(ValueError, match="of my own") as caught:
        train(["--trust", "own", "--trainer.callbacks", "own.OwnCallback"])
    assert not isinstance(caught.value, UserError)


def test_a_defect_in_a_network_of_the_project_keeps_its_traceback(folder, monkeypatch):
    monkeypatch.setattr("project.nets.mlp.prod", lambda shape: {}["width"])
    with pytest.raises(KeyError, match="width"):
        train(["--model.net", "MLP"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model.net", "CNN"], "CNN: rows must be images"),
        (["--model.net", "MLP", "--model.net.dropout", "2"], "MLP: dropout must be in"),
        (["--optimizer.lr", "-1"], "Invalid learning rate: -1.0"),
        (["--trainer.devices", "0"], "devices"),
        (["--trainer.accelerator", "gpuu"], "gpuu"),
        (["--trainer.precision", "16-mixd"], "did you mean --trainer.precision 16-mixed?"),
    ],
)
def test_a_value_that_a_constructor_refuses_is_reported(folder, args, message):
    with pytest.raises(UserError, match=message):
        train(args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--model.net", "torch.optim.Adam"],
            "--model.net: torch.optim.Adam is not a subclass of Module; use one of Backbone, CNN, EncoderDecoder",
        ),
        (["--optimizer", "torch.optim.lr_scheduler.StepLR"], "--optimizer: .*StepLR is not a subclass of Optimizer"),
        (["--data", "project.nets.MLP"], "--data: project.nets.MLP is not a subclass of LightningDataModule"),
        (["--model.loss", "torch.nn.Linear"], "--model.loss: torch.nn.Linear is not a subclass of"),
        (["--foo", "1"], "unknown flag --foo; --help lists the flags of this command, train.py --help all the others"),
    ],
)
def test_a_class_of_the_wrong_kind_is_reported_with_what_is_expected(folder, args, message):
    with pytest.raises(UserError, match=message):
        parse(args)
