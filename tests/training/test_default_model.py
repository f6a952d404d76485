"""The model that is trained if none is named follows the target."""

import pytest

from project.runtime.errors import UserError
from project.training.cli import ExperimentCLI

LABELS = {"text": ["cat", "dog"], "boolean": ["yes", "no"], "number": ["1", "2"]}


def model_of(folder, kind, *args):
    """The class of the model of a table whose target is of a kind, and the class of its loss."""
    rows = "".join(f"{i},{LABELS[kind][i % 2]}\n" for i in range(60))
    (folder / "t.csv").write_text("a,y\n" + rows)
    table = ["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "y", "--trainer.logger", "false"]
    model = ExperimentCLI([*args, *table]).model
    return type(model).__name__, type(model.criterion).__name__


@pytest.mark.parametrize(
    ("kind", "args", "model"),
    [
        ("text", [], "Classification"),
        ("boolean", [], "Classification"),
        ("number", [], "Regression"),
        ("number", ["--data.task", "classification"], "Classification"),
        ("number", ["--data.kinds", "{y: category}"], "Classification"),
        ("text", ["--model.net", "MLP"], "Classification"),
    ],
)
def test_the_model_follows_the_target(folder, kind, args, model):
    losses = {"Classification": "CrossEntropyLoss", "Regression": "MSELoss"}
    assert model_of(folder, kind, *args) == (model, losses[model])


def test_a_configuration_may_choose_the_network_and_leave_the_model_to_the_target(folder):
    (folder / "net.yaml").write_text("model: {init_args: {net: {class_path: project.nets.TableNet}}}")
    for kind, model in (("text", "Classification"), ("number", "Regression")):
        assert model_of(folder, kind, "--config", "net.yaml")[0] == model


def test_images_of_digits_are_classified(folder):
    cli = ExperimentCLI(["--data", "DigitsDataModule", "--trainer.logger", "false"])
    assert type(cli.model).__name__ == "Classification"


def test_a_model_that_was_named_is_not_replaced(folder):
    (folder / "model.yaml").write_text("model: {class_path: project.models.Regression}")
    for args in (["--model", "Regression"], ["--config", "model.yaml"]):
        assert model_of(folder, "boolean", *args)[0] == "Regression"


@pytest.mark.parametrize(
    ("args", "problem"), [(["--data.target", "z"], "no column 'z'"), (["--data.path", "gone.csv"], "gone.csv")]
)
def test_a_table_that_cannot_be_read_is_told_as_ever(folder, args, problem):
    (folder / "t.csv").write_text("a,y\n1,2\n")
    with pytest.raises(UserError, match=problem):
        ExperimentCLI(["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "y", *args])
