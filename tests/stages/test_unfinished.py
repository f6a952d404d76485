"""A run that was killed is no input of a stage, unless it is named."""

import json
from pathlib import Path

import pytest

from project.inference.evaluate import evaluate
from project.stages.finetune import finetune
from project.stages.prune import prune
from project.training.train import train
from tests.scripts.test_exact_resume import stop_at
from tests.trained import trained

SHORT = ["--data.features", "2", "--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "2"]
TOLD = "lightning_logs/version_0: its training has not ended; resume it with --ckpt_path"
# With a callback that acts on single steps, the run can be stopped at any of them.
RESUMED = ["--ckpt_path", "lightning_logs/version_0", "--trainer.max_epochs", "4"]
RESUMED += ["--trainer.callbacks", "LearningRateMonitor", "--trainer.callbacks.logging_interval", "step"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [
        finetune,
        pytest.param(lambda run: prune(run, sparsity=0.5), marks=pytest.mark.slow),
        pytest.param(evaluate, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_resumed_and_killed(folder, capsys, monkeypatch, stage):
    trained([*SHORT, "--trainer.max_epochs", "1"], "version_1")
    trained(SHORT)
    with monkeypatch.context() as patch:
        stop_at(patch, 12)
        with pytest.raises(SystemExit):
            train(RESUMED)
    capsys.readouterr()
    stage("last")
    assert f"warning: skipped {TOLD}" in capsys.readouterr().err
    stage("lightning_logs/version_0")
    assert f"warning: {TOLD}" in capsys.readouterr().err
    train(["--ckpt_path", "lightning_logs/version_0"])
    capsys.readouterr()
    stage("lightning_logs/version_0")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_prune_that_was_killed_and_resumed_has_the_metrics_of_the_net_before(folder, capsys, monkeypatch):
    source = trained(SHORT)
    single = RESUMED[4:]
    whole = prune(source, sparsity=0.5, args=[*single, "--trainer.max_epochs", "4"])
    with monkeypatch.context() as patch:
        stop_at(patch, 12)
        with pytest.raises(SystemExit):
            prune(source, sparsity=0.5, args=[*single, "--trainer.max_epochs", "4"])
    Path(source).rename("elsewhere")
    with pytest.warns(UserWarning, match="changes of the weights are not reported"):
        train(["--ckpt_path", "lightning_logs/version_2"])
    resumed = json.loads(Path("lightning_logs/version_2/metrics.json").read_text())
    names = [name for name in whole if name.startswith(("unpruned/", "pruned/")) and "milliseconds" not in name]
    assert {name: resumed.get(name) for name in names} == {name: whole[name] for name in names}
    assert {"unpruned/test/mse", "unpruned/nonzero", "pruned/nonzero"} <= {*names}
