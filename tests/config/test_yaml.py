"""Configurations keep their values when they are written and read again."""

import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from project.config.yaml import yaml_of
from project.inference.evaluate import evaluate
from project.runtime.errors import UserError
from project.stages.base import parse
from project.training.train import train

NUMBERLIKE = st.from_regex(
    r"[-+]?[0-9._]{1,4}([eE][-+]?[0-9]{1,2})?|0[xob][0-9]{1,3}|[0-9]{1,2}:[0-9]{2}", fullmatch=True
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(NUMBERLIKE, st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8))))
def test_text_stays_text(texts):
    parser = ArgumentParser()
    parser.add_argument("--names", type=list[str])
    dumped = parser.dump(parser.parse_object({"names": texts}))
    assert yaml.safe_load(dumped)["names"] == texts
    assert parser.parse_string(dumped).names == texts


def test_a_column_may_be_named_like_a_number(folder):
    rows = "".join(f"{n},{n * n % 7},{2 * n}\n" for n in range(40))
    (folder / "table.csv").write_text(f"1e3,nan,2E5\n{rows}")
    data = ["--data", "TabularDataModule", "--data.path", "table.csv"]
    train([*data, "--data.target", "2E5", "--data.features", '["1e3", "nan"]', "--trainer.max_epochs", "1"])
    assert evaluate("last")[1] == 8


@pytest.mark.parametrize(
    "section", ["trainer", "model", "data", "sampling", "weights", "finetuning", "pruning", "resume"]
)
def test_an_empty_section_is_reported(folder, section):
    (folder / "config.yaml").write_text(f"seed_everything: 1\n{section}:\n")
    with pytest.raises(UserError, match=f"^config.yaml: {section}: has no settings below it"):
        parse(["--config", "config.yaml"])


def test_a_configuration_is_found_in_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "own.yaml").write_text("seed_everything: 3\n")
    assert yaml_of(["--config=~/own.yaml"]) == {"seed_everything": 3}


def test_a_name_that_is_too_long_names_no_configuration():
    with pytest.raises(UserError, match="no such file; pass a YAML file"):
        yaml_of(["--config", "a" * 300])


def test_optional_sections_may_be_null(folder):
    (folder / "config.yaml").write_text("ckpt_path: null\nlr_scheduler: null\nlifecycle: null\n")
    assert parse(["--config", "config.yaml"])["lr_scheduler"] is None


@pytest.mark.parametrize("flag", ["--config", "--trainer", "--optimizer"])
def test_a_configuration_that_can_be_read_only_once_is_refused(folder, flag):
    os.mkfifo("pipe.yaml")
    with pytest.raises(UserError, match="^pipe.yaml: not a regular file"):
        parse([flag, "pipe.yaml"])
