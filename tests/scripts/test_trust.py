"""Every command accepts classes of a user's own module with --trust, and none does without."""

from pathlib import Path

import pytest

from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.runtime.errors import UserError
from project.training.train import train
from tests.command import run_script

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "1"]


@pytest.fixture
def package(folder):
    """A package with a net, in the working folder."""
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "__init__.py").write_text("from mypackage.nets import Own\n")
    (folder / "mypackage" / "nets.py").write_text(
        "from project.nets import Linear\n\n\nclass Own(Linear):\n    '''A net.'''\n"
    )
    (folder / "rows.csv").write_text("x\n1\n2\n")
    return folder


@pytest.mark.slow
def test_every_command_needs_trust_for_a_net_of_your_own(package):
    commands = [
        ("train", *SHORT, "--model.net", "mypackage.nets.Own"),
        ("train", "--ckpt_path", "last", "--trainer.max_epochs", "2"),
        ("evaluate", "last"),
        ("predict", "last", "rows.csv", "predicted.csv"),
        ("finetune", "last", *SHORT),
        ("distill", "lightning_logs/version_0", *SHORT),
        ("crossvalidate", "--folds", "2", *SHORT, "--model.net", "mypackage.nets.Own"),
    ]
    for script, *args in commands:
        done = run_script(package, script, *args)

        assert done.returncode == 2

        assert "pass --trust mypackage to allow it" in done.stderr
        done = run_script(package, script, *args, "--trust", "mypackage")
        assert done.returncode == 0, done.stderr
    assert "trust" not in (package / "lightning_logs" / "version_0" / "config.yaml").read_text()


def test_classes_of_a_trusted_module_can_be_chosen_by_name(package):
    done = run_script(package, "train", *SHORT, "--trust=mypackage", "--model.net", "Own")
    assert done.returncode == 0, done.stderr


def test_trust_ends_with_the_command(package, monkeypatch):
    monkeypatch.syspath_prepend(str(package))
    args = [*SHORT, "--model.net", "mypackage.Own"]
    train([*args, "--trust", "mypackage"])
    for command in (
        lambda: train(args),
        lambda: evaluate("last"),
        lambda: predict("last", Path("rows.csv"), Path("out.csv")),
    ):
        evaluate("last", ["--trust", "mypackage"])
        with pytest.raises(UserError, match="pass --trust mypackage to allow it"):
            command()


@pytest.mark.parametrize("key", ["trust: mypackage", "trust: [mypackage]", "--trust: mypackage"])
def test_a_configuration_cannot_grant_trust(package, key):
    (package / "config.yaml").write_text(f"{key}\nmodel:\n  class_path: project.models.Regression\n")
    with pytest.raises(UserError, match="trust"):
        train(["--config", "config.yaml", *SHORT])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--trust"], "--trust: expected the name of a module"),
        (["--trust", "no_such_module"], "no_such_module"),
        (["--trust", "*"], r"--trust \*"),
        (["--trust", "a/b"], "--trust a/b"),
        (["--trust", "jsonargparse"], "--trust jsonargparse"),
    ],
)
def test_invalid_trust_is_reported(folder, args, message):
    with pytest.raises(UserError, match=message):
        train([*SHORT, *args])


def test_submodules_of_known_modules_stay_known_after_trust_ends(folder):
    train([*SHORT, "--trust", "project.nets.mlp"])
    assert "project.nets.MLP" not in (folder / "lightning_logs/version_0/config.yaml").read_text()
    train([*SHORT, "--model.net", "project.nets.mlp.MLP"])
    assert "project.nets.MLP" in (folder / "lightning_logs/version_1/config.yaml").read_text()
