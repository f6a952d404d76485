"""Configurations of earlier versions."""

import pytest

from project.config.plain_data import read_yaml
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from tests.trained import trained

OLD = "model:\n  class_path: {}\n  init_args:\n    compile: false\n    log_link: {}\n"


@pytest.mark.parametrize(
    ("class_path", "value", "kept"),
    [("project.models.Classification", "false", False), ("mine.Model", "false", True), ("mine.Model", "x", True)],
)
def test_only_what_did_nothing_is_left_out(class_path, value, kept):
    assert ("log_link" in read_yaml(OLD.format(class_path, value), "a")["model"]["init_args"]) == kept


def test_a_run_with_an_argument_that_models_once_had_is_opened(folder):
    digits = ["--data", "DigitsDataModule", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    trained([*digits, "--epoch_line.every_n_epochs", "0"])
    checkpoint = read_checkpoint(find_checkpoint("last"))
    text = checkpoint["config"].replace("    compile: false\n", "    compile: false\n    log_link: false\n")
    assert "log_link" in text
    assert type(load_model(checkpoint | {"config": text})).__name__ == "Classification"
