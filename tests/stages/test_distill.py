"""A run teaches a net, from labels and without."""

import json
import shutil

import numpy as np
import pytest
import torch

from project.inference.evaluate import evaluate
from project.models import DistilledClassification, DistilledRegression
from project.models.prepared import PreparedBatch
from project.nets import MLP
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.distill import distill
from project.stages.finetune import finetune
from project.training.train import train
from tests.trained import trained

QUIET = ["--epoch_line.every_n_epochs", "0"]
SHORT = ["--data.features", "3", "--data.rows", "200", "--trainer.max_epochs", "3", *QUIET]
TEACHER = "lightning_logs/version_0"
DIGITS = ["--model", "Classification", "--data", "DigitsDataModule", "--optimizer", "Adam", "--optimizer.lr", "0.01"]
DIGITS += ["--trainer.max_epochs", "3", *QUIET]


def load(reference):
    return load_model(read_checkpoint(find_checkpoint(reference)))


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_the_objective_is_that_of_hinton_over_labelled_rows_and_all_rows():
    model = DistilledClassification(
        in_shape=(2,), out_features=3, net=MLP, teacher="", temperature=4.0, labels_weight=0.3
    )
    rng = np.random.default_rng(0)
    student, teacher = (rng.normal(size=(5, 3)).astype(np.float32) for _ in range(2))
    y = torch.tensor([2, -1, 0, -1, 1])
    teacher_outputs = torch.from_numpy(teacher)
    loss = model.objective(
        torch.from_numpy(student), PreparedBatch(torch.zeros(5, 2), y, y, None, teacher_outputs)
    ).item()
    p, q = softmax(teacher / 4), softmax(student / 4)
    divergence = (p * np.log(p / q)).sum(1).mean() * 16
    labelled = -np.log(softmax(student)[[0, 2, 4], [2, 0, 1]]).mean()
    assert loss == pytest.approx(0.3 * labelled + 0.7 * divergence, rel=1e-5)


def test_numbers_are_learned_by_their_distance_to_labels_and_to_the_teachers():
    model = DistilledRegression(in_shape=(2,), out_features=1, net=MLP, teacher="", labels_weight=0.25)
    outputs, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [torch.nan]])
    teacher_outputs = torch.tensor([[0.0], [5.0]])
    loss = model.objective(outputs, PreparedBatch(torch.zeros(2, 2), y, y, None, teacher_outputs))
    assert loss.item() == pytest.approx(0.25 * 4 + 0.75 * (1 + 9) / 2)


@pytest.mark.slow
def test_a_student_without_labels_becomes_its_linear_teacher(folder, capsys):
    trained(SHORT)
    args = ["--model.labels_weight", "0", "--optimizer.lr", "0.1", "--trainer.max_epochs", "60", "--data.seed", "9"]
    metrics = distill(TEACHER, args=args)
    teacher, student = load(TEACHER).equation, load("lightning_logs/version_1").equation
    torch.testing.assert_close(student.weights, teacher.weights, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(student.bias, teacher.bias, rtol=1e-4, atol=1e-4)
    assert metrics["student"]["test/mse"] == pytest.approx(metrics["teacher"]["test/mse"], rel=1e-3)


@pytest.mark.slow
def test_rows_that_only_the_teacher_labels_help_where_labels_are_few(folder, capsys):
    train([*DIGITS, "--trainer.max_epochs", "10"])
    few = ["--sampling.labels", "50", "--sampling.unlabelled", "true"]
    metrics = distill(TEACHER, baseline=True, args=[*few, "--model.net", "MLP", "--model.labels_weight", "0.1"])
    assert metrics["student"]["test/accuracy"] > metrics["labels alone"]["test/accuracy"] + 0.05
    assert list(metrics) == ["labels alone", "student", "teacher"]


def test_a_table_of_unlabelled_rows_is_learned_from(folder, table, capsys):
    data = ["--data", "TabularDataModule", "--data.path", str(table(rows=100)), "--data.target", "y", *QUIET]
    train([*data, "--model", "LinearRegression"])
    (folder / "more.csv").write_text("a,b\n" + "".join(f"{i},{i % 13}\n" for i in range(300)))
    args = ["--sampling.unlabelled_path", "more.csv", "--trainer.max_epochs", "2"]
    distill(TEACHER, args=args)
    written = json.loads((folder / "lightning_logs/version_1/metrics.json").read_text())
    assert round(written["rows_per_second"] * written["seconds/fit"]) == 2 * (70 + 300)


def test_the_student_is_a_run_that_needs_no_teacher(folder, capsys):
    train([*DIGITS, "--trainer.max_epochs", "1"])
    distill(TEACHER, args=["--model.net", "MLP", "--trainer.max_epochs", "1"])
    expected = evaluate("lightning_logs/version_1")
    shutil.rmtree(TEACHER)
    assert evaluate("lightning_logs/version_1") == expected
    finetune("lightning_logs/version_1", args=["--trainer.max_epochs", "1"])
    assert type(load("lightning_logs/version_2")).__name__ == "Classification"


@pytest.mark.slow
@pytest.mark.parametrize("mutual", [pytest.param("false", marks=pytest.mark.slow), "true"])
def test_a_resumed_distillation_ends_as_the_uninterrupted_one(folder, capsys, mutual):
    trained(SHORT)
    args = ["--model.net", "MLP", "--model.net.hidden", "[4]", "--model.mutual", mutual, "--optimizer", "Adam"]
    for epochs in ("4", "2"):
        distill(TEACHER, args=[*args, "--trainer.max_epochs", epochs])
    train(["--ckpt_path", "last", "--trainer.max_epochs", "4"])
    whole, resumed = (read_checkpoint(find_checkpoint(f"lightning_logs/version_{k}", "last.ckpt")) for k in (1, 2))
    for part in ("state_dict", "peer"):
        assert all(value.equal(resumed[part][name]) for name, value in whole[part].items())
    before, after = load(TEACHER).state_dict(), whole["peer"]
    moved = any(not value.equal(before[f"net.{name.removeprefix('peer.')}"]) for name, value in after.items())
    assert moved == (mutual == "true")
    assert all(value.equal(load(TEACHER).state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--data.outputs", "2"], r"its target_names is \['y'\], but the student's is \['y1', 'y2'\]"),
        (["--data.features", "2"], r"--model.teacher .*in_shape is \(3,\), but the student's is \(2,\)"),
        (["--model.labels_weight", "2"], "--model.labels_weight: must be a number from 0 to 1, got 2"),
        (["--model.teacher", "nowhere"], "--model.teacher: the teacher is the run that you pass"),
        (["--model", "Regression"], "--model Regression: cannot learn from a teacher"),
        (["--sampling.unlabelled_path", "no.csv"], "no.csv: no such file"),
        (["--ckpt_path", "last"], "--ckpt_path: a stage starts a new run"),
    ],
)
def test_a_mistake_is_told_before_any_training(folder, capsys, args, told):
    trained([*SHORT, "--trainer.max_epochs", "1"])
    with pytest.raises(UserError, match=told):
        distill(TEACHER, args=args)
    assert [path.name for path in (folder / "lightning_logs").iterdir()] == ["version_0"]
