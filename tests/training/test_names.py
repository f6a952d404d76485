"""Runs that `--name` names."""

from pathlib import Path

import pytest

from project.inference.evaluate import evaluate
from project.pipeline.plan import make_plan
from project.runtime.errors import UserError
from project.stages.crossvalidate import crossvalidate
from project.stages.distill import distill
from project.stages.ensemble import train_jointly
from project.sweep.settings import merge_settings
from project.training.train import train

SHORT = ["--trainer.max_epochs", "1"]
RUN = Path("lightning_logs/wide-net")


def test_a_named_run_is_a_run_like_any_other(folder, capsys):
    metrics = train([*SHORT, "--name", "wide-net"])
    assert [path.name for path in Path("lightning_logs").iterdir()] == ["wide-net"]
    assert evaluate("last")[0]["test/mse"] == pytest.approx(metrics["test/mse"])
    train(["--ckpt_path", "last", "--trainer.max_epochs", "2"])  # it keeps its folder
    train(["--config", str(RUN / "config.yaml"), *SHORT])  # its configuration has no name, and makes another run
    assert sorted(path.name for path in Path("lightning_logs").iterdir()) == ["version_0", "wide-net"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--name", "a/b"], "'a/b' cannot name a run; use letters"),
        (["--name", "version_3"], "cannot name a run"),
        (["--name", "last"], "cannot name a run"),
        (["--name", "wide-net"], "wide-net exists; choose another name"),
        (["--name", "new", "--ckpt_path", str(RUN), "--trainer.max_epochs", "2"], "has no effect on a resumed run"),
        (["--name", "new", "--trainer.logger", "false"], "has no effect with a logger of your own"),
    ],
)
def test_a_name_that_a_run_cannot_have_is_refused_before_training(named, capsys, args, message):
    before = sorted(named.rglob("*"))
    with pytest.raises(UserError, match=message):
        train([*SHORT, *args])
    assert sorted(named.rglob("*")) == before


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    train([*SHORT, "--name", "wide-net", "--trainer.default_root_dir", str(folder)])
    return folder


@pytest.fixture
def named(trained_folder, monkeypatch):
    monkeypatch.chdir(trained_folder)
    return trained_folder


@pytest.mark.parametrize(
    "refused",
    [
        lambda args: merge_settings(None, {}, {"search": {"optimizer.lr": "[1.0]"}, "args": args, "trust": []}),
        lambda args: [*crossvalidate(2, args)],
        lambda args: make_plan(None, args),
        lambda args: train_jointly(2, False, args),
        lambda args: distill(str(RUN), args=args),
    ],
)
def test_a_command_that_names_its_runs_itself_refuses_a_name(named, refused):
    with pytest.raises(UserError, match="--name: this command names its runs itself; remove it"):
        refused(["--name", "new"])
