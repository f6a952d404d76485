"""A run that is stopped and resumed on a GPU is bit-identical to an uninterrupted one."""

import pytest

from project.training.train import train
from tests.command import REPOSITORY
from tests.scripts.test_exact_resume import (  # noqa: F401 (a fixture that is used by itself)
    BASE,
    MLP,
    SINGLE,
    assert_same,
    ordered_event_files,
    state,
    stop_at,
)

pytestmark = pytest.mark.gpu
QUIET = ["--epoch_line.every_n_epochs", "0"]
CNN = ["--config", str(REPOSITORY / "scripts/experiments/digits_cnn.yaml"), *QUIET]
RESUMABLE = {
    "several steps at once": [*BASE, "--optimizer", "Adam", *MLP],
    "single steps": [*BASE, *SINGLE, "--optimizer", "Adam", *MLP],
    "momentum and clipping": [*BASE, *SINGLE, "--optimizer.momentum", "0.9", "--trainer.gradient_clip_val", "0.1"],
    "accumulation": [*BASE, *SINGLE, "--trainer.accumulate_grad_batches", "2", *MLP],
    "bf16": [*BASE, *SINGLE, "--trainer.precision", "bf16-mixed", *MLP],
    "fp16, whose scale of gradients changes": [*BASE, *SINGLE, "--trainer.precision", "16-mixed", *MLP],
    "recurrent dropout": [
        *("--data", "DigitsDataModule", "--data.as_sequence", "true", "--data.batch_size", "256", *SINGLE, *QUIET),
        *("--model", "Classification", "--model.net", "RNN", "--model.net.layers", "2", "--model.net.dropout", "0.3"),
        *("--trainer.max_epochs", "2"),
    ],
    "convolutions, dropout and worker processes": [
        *CNN,
        *SINGLE,
        *("--trainer.max_epochs", "2", "--data.batch_size", "256", "--data.num_workers", "2"),
        *("--trainer.deterministic", "true"),
    ],
}


@pytest.mark.parametrize("way", RESUMABLE)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(folder, monkeypatch, capsys, way):
    args = RESUMABLE[way]
    train(args)
    whole = state(folder / "lightning_logs/version_0")
    stop = whole["step"] // 2 + whole["step"] // 4
    if way.startswith("several"):
        train([*args, "--trainer.max_steps", str(stop)])
        train(["--ckpt_path", "last", "--trainer.max_steps", "-1"])
    else:
        with monkeypatch.context() as patch:
            stop_at(patch, stop)
            with pytest.raises(SystemExit):
                train(args)
        train(["--ckpt_path", "last"])
    resumed = state(folder / "lightning_logs/version_1")
    for part in (whole, resumed) if way.startswith("several") else ():  # rows are evaluated in other groups
        part["curves"] = {tag: points for tag, points in part["curves"].items() if not tag.startswith("val/")}
    assert_same(whole, resumed)


@pytest.mark.parametrize("capture", ["false", "true"])
def test_a_run_resumed_between_groups_of_steps_equals_an_uninterrupted_one(folder, monkeypatch, capsys, capture):
    args = [*BASE, "--data.rows", "2560", "--optimizer", "Adam", *MLP, "--model.cuda_graph", capture]
    train(args)
    with monkeypatch.context() as patch:
        stop_at(patch, 320)
        with pytest.raises(SystemExit):
            train(args)
    train(["--ckpt_path", "last"])
    assert_same(*(state(folder / f"lightning_logs/version_{number}") for number in range(2)))
