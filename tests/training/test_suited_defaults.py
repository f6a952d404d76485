"""What a command line leaves open follows the data: the model, its optimizer and the number of epochs."""

import pytest
import yaml

from project.training.cli import ExperimentCLI
from project.training.train import train

TEXT = ["--data", "TextDataModule", "--data.path", "t.txt", "--data.tokenizer", "bytes", "--data.context", "16"]


@pytest.fixture
def text(folder):
    (folder / "t.txt").write_text("a word and another word\n" * 100)
    return TEXT


def config(args):
    found = ExperimentCLI(args).settings.config
    return found.model.class_path, found.optimizer.class_path, found.optimizer.init_args.lr, found.trainer.max_epochs


def test_text_is_for_a_language_model_and_its_optimizer(text):
    assert config(text) == ("project.models.LanguageModel", "torch.optim.AdamW", 0.001, 3)


def test_what_is_given_stays(text):
    given = ["--optimizer", "SGD", "--optimizer.lr", "0.1", "--trainer.max_epochs", "7"]
    assert config([*text, *given])[1:] == ("torch.optim.SGD", 0.1, 7)
    assert config([*text, "--optimizer.lr", "0.5"])[1:3] == ("torch.optim.AdamW", 0.5)


def test_arguments_are_those_of_what_the_data_suggests(text):
    args = [*text, "--model.net.width", "32", "--optimizer.betas", "[0.9, 0.95]"]
    found = ExperimentCLI(args).settings.config
    assert found.model.init_args.net.init_args.width == 32
    assert found.optimizer.init_args.betas == (0.9, 0.95)


def test_a_number_of_steps_is_not_cut_short_by_epochs(text):
    assert config([*text, "--trainer.max_steps", "5000"])[3] == 100


def test_numbers_and_classes_keep_the_defaults_of_the_command():
    assert config([]) == ("project.models.Regression", "torch.optim.SGD", 0.01, 100)
    assert config(["--data", "DigitsDataModule"]) == ("project.models.Classification", "torch.optim.SGD", 0.01, 100)


def test_the_configuration_that_is_printed_is_the_one_that_is_used(text, capsys):
    with pytest.raises(SystemExit):
        train([*text, "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["class_path"] == "project.models.LanguageModel"
    assert (printed["optimizer"]["class_path"], printed["trainer"]["max_epochs"]) == ("torch.optim.AdamW", 3)


def test_a_network_for_tables_brings_its_training_unless_another_is_given(folder):
    (folder / "t.csv").write_text("x,y\n" + "".join(f"{n},{2 * n}\n" for n in range(40)))
    table = ["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "y"]

    def of(*args):
        found = ExperimentCLI([*table, *args]).settings.config
        scheduler = found.lr_scheduler and found.lr_scheduler.class_path.rpartition(".")[2]
        return (
            found.optimizer.class_path.rpartition(".")[2],
            found.optimizer.init_args.lr,
            scheduler,
            (found.trainer.max_epochs),
        )

    net = ["--model.net", "TableNet"]
    assert of() == ("SGD", 0.01, None, 100)  # the linear model, which the exact answer stands beside
    assert of(*net) == ("AdamW", 0.001, "WarmupCosine", 30)
    assert of(*net, "--optimizer.lr", "0.1", "--trainer.max_epochs", "5") == ("AdamW", 0.1, "WarmupCosine", 5)
    assert of(*net, "--optimizer", "SGD", "--optimizer.lr", "0.1") == ("SGD", 0.1, None, 100)
    assert of(*net, "--lr_scheduler", "null")[2] is None
