"""The parts of a pipeline: its plan, its record, its stages, its verdicts and its figures."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from project.config.changes import refuse_changes
from project.inference.evaluate import evaluate
from project.pipeline.pipeline import Measured, Plan, Task
from project.pipeline.plan import make_plan, merged, split_args
from project.pipeline.record import finished_settings, read_record
from project.pipeline.report.figures import Point, curves_figure, pareto_front, trade_off
from project.pipeline.report.measure import bootstrap_interval
from project.pipeline.report.verdict import of_compression, of_quality, of_training
from project.pipeline.run import run_pipeline
from project.pipeline.stages import STAGES
from project.runtime.errors import UserError
from project.serving.metadata import read_metadata
from project.stages.base import StageSkipped, parse, stage_config
from project.stages.narrow import smaller_net
from project.training.train import train

ROWS = np.zeros((4, 1), np.float32)
ACCURACY, MSE = (Task(name, rises, ROWS, ROWS, 1.0) for name, rises in (("accuracy", True), ("mse", False)))


def measured(scores, bytes=1_000, milliseconds=1.0):
    scores = np.asarray(scores, np.float64)
    metrics = {"test/accuracy": scores.mean(), "test/mse": scores.mean()}
    return Measured(metrics, scores, bootstrap_interval(scores), 10, 10, bytes, {1: milliseconds, 64: milliseconds})


def test_the_interval_is_scipys():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).exponential(size=300)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=9_999, random_state=2).confidence_interval
    assert bootstrap_interval(values) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_flags_of_stages_are_told_from_those_of_train():
    args = ["--model.net", "MLP", "--prune.structured=0.25", "--distill.trainer.max_epochs", "3", "--data.rows", "50"]
    of_stages, others = split_args(args)
    assert others == ["--model.net", "MLP", "--data.rows", "50"]
    assert of_stages["prune"] == [["--structured", "0.25"]]
    assert of_stages["distill"] == [["--trainer.max_epochs", "3"]]


def test_a_package_that_a_later_stage_needs_is_named_before_the_first(folder, monkeypatch):
    monkeypatch.setattr("project.serving.server.PACKAGES", ("fastapi", "of_nobody"))
    with pytest.raises(UserError, match=r'^serving needs of_nobody; pip install -e "\.\[serve\]"$'):
        make_plan("train,serve", [])
    assert make_plan("train", []).stages == ["train", "evaluate"]


@pytest.mark.slow
def test_a_section_of_an_experiment_says_what_flags_say(folder):
    section = "lifecycle:\n  stages: [train, prune]\n  prune: {structured: 0.25, trainer: {max_epochs: 7}}\n"
    (folder / "own.yaml").write_text("trainer:\n  max_epochs: 3\n" + section)
    plan = make_plan(None, ["--config", "own.yaml"])
    assert plan.stages == ["train", "prune", "evaluate"]
    prune = STAGES["prune"]
    assert prune.parse(plan.args("prune")) == ({"structured": 0.25}, ["--trainer.max_epochs", "7"])
    args = ["--trainer.max_epochs", "3", "--prune.structured", "0.25", "--prune.trainer.max_epochs", "7"]
    same = make_plan("train,prune", args)
    assert (same.stages, same.config) == (plan.stages, plan.config)
    assert prune.parse(same.args("prune")) == prune.parse(plan.args("prune"))
    assert parse(["--config", "own.yaml"]) == parse(["--trainer.max_epochs", "3"])  # train.py takes no notice


def test_sparsity_stands_in_the_place_of_fewer_units():
    plan = make_plan("train,prune", ["--prune.sparsity", "0.9"])
    assert STAGES["prune"].parse(plan.args("prune"))[0] == {"sparsity": 0.9}


QUIET = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "1"]
TABLE = ["--data", "TabularDataModule", "--data.target", "y", "--data.path"]


@pytest.mark.parametrize(
    ("stages", "args", "message"),
    [
        ("train,polish", [], "--stages: unknown stage 'polish'"),
        ("prune,serve", [], "--stages: prune needs a run; put train or ensemble before it"),
        ("train,prune", ["--prune.structured", "half"], "--prune.structured: must be a number .* got half"),
        ("train,distill", ["--distill.trainer.max_epochz", "3"], "distill: .*did you mean --trainer.max_epochs"),
        ("train,serve", ["--serve.workers", "3"], "--serve.workers: no such flag of serve"),
        ("train", ["--trainer.devices", "2"], "--trainer.devices: a life cycle trains in one process"),
        ("train", ["--trainer.enable_checkpointing", "false"], "--trainer.enable_checkpointing: the stage needs runs"),
        ("train", ["--trainer.logger", "false"], "--trainer.logger: the stage needs runs"),
        ("train", [*TABLE, "no.csv"], "^1_train: .*no.csv: no such file or folder$"),
        ("train", ["--config", "own.yaml"], "lifecycle: polish: unknown; use `stages`"),
        ("train", ["--prune.structred", "0.5"], "--prune.structred: no stage prune in --stages train,evaluate"),
        ("evaluate,train", [], "--stages: evaluate .* put it last"),
        (None, ["--config", "number.yaml"], r"lifecycle.stages: 5: must be a list of stages, such as \[train, prune\]"),
        ("train,ensemble", ["--ensemble.members", "1"], "--ensemble.members: must be an integer, 2 or more, got 1"),
        ("train,prune", ["--prune.structured", "2"], "--prune.structured: must be a number above 0 and below 1, got 2"),
        (
            "train,prune",
            ["--prune.structured=0.5", "--prune.sparsity=0.5"],
            "prune: set either --sparsity .* or --structured",
        ),
        ("train,quantize", ["--quantize.dtype", "int4"], "quantize: --dtype.* int8"),
        (
            "train,distill",
            ["--distill.model", "Regression"],
            "distill: --model Regression: cannot learn from",
        ),
        ("train,distill", ["--distill.model.teacher", "a"], "distill: --model.teacher: the teacher is the run"),
        ("train,serve", ["--serve.threads", "0"], "--serve.threads: must be an integer, 1 or more, got 0"),
    ],
)
def test_a_mistake_is_told_before_anything_is_trained(folder, stages, args, message):
    (folder / "own.yaml").write_text("lifecycle: {polish: {a: 3}}\n")
    (folder / "number.yaml").write_text("lifecycle: {stages: 5}\n")
    with pytest.raises(UserError, match=message):
        run_pipeline(None, stages, args)
    assert not list(folder.glob("lightning_logs/*"))


def test_other_settings_than_before_are_named(folder):
    def check(before, now, finished):
        refuse_changes(folder, finished_settings(before, finished), finished_settings(now, finished))

    before = Plan(["train"], {"train": [["--data.rows", "3"]]}, {"optimizer": {"init_args": {"lr": 0.1}}})
    check(before, before, 1)
    with pytest.raises(UserError, match="--optimizer.lr: .* was started with 0.1, got 0.2"):
        check(before, before._replace(config={"optimizer": {"init_args": {"lr": 0.2}}}), 0)
    with pytest.raises(UserError, match="--train: .* was started with --data.rows 3, got --data.rows 4"):
        check(before, before._replace(flags={"train": [["--data.rows", "4"]]}), 1)
    check(before, before._replace(flags={"train": [["--data.rows", "4"]]}), 0)  # the stage has not run yet


@pytest.mark.slow
def test_a_stage_that_failed_is_done_with_other_flags(folder, capsys):
    with pytest.raises(UserError, match="2_distill: .*continue with python scripts/lifecycle.py --folder"):
        run_pipeline(Path("chain"), "train,distill", [*QUIET, "--distill.model.net", "RNN"])
    (Path("chain") / "2_distill/checkpoints").mkdir(parents=True, exist_ok=True)
    (Path("chain") / "2_distill/checkpoints/last.ckpt").touch()  # of a training with the flags of before
    run_pipeline(Path("chain"), None, ["--distill.model.net", "MLP", "--distill.model.net.hidden", "[3]"])
    assert [result.name for result in read_record(Path("chain"))[1]] == ["1_train", "2_distill", "3_evaluate"]
    assert stage_config("chain/2_distill")["model"]["init_args"]["net"]["init_args"]["hidden"] == [3]


@pytest.mark.slow
def test_flags_on_top_of_those_of_before_take_their_place():
    before = make_plan("train,prune", [*QUIET, "--prune.structured", "0.25", "--train.model.net=MLP"])
    plan = make_plan(None, ["--prune.sparsity", "0.8", "--train.model.net", "Linear"], (), before)
    assert (plan.stages, plan.config) == (before.stages, before.config)
    assert (plan.args("prune"), plan.args("train")) == (["--sparsity", "0.8"], ["--model.net", "Linear"])
    again = make_plan(None, ["--train.model.net", "MLP", "--prune.structured=0.25"], (), before)
    assert finished_settings(again, 2) == finished_settings(before, 2)
    assert make_plan(None, QUIET, (), before).stages == before.stages
    flags = [["--model.net", "CNN"], ["--model.net.channels", "[4]"], ["--optimizer.lr", "1"]]
    assert merged(flags, [["--model.net", "MLP"]]) == [["--optimizer.lr", "1"], ["--model.net", "MLP"]]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_something_else_is_left_alone(folder, capsys):
    train([*QUIET])
    run, before = Path("lightning_logs/version_0"), contents(folder)
    with pytest.raises(UserError, match="version_0: the folder contains something other than a life cycle"):
        run_pipeline(run, "train", QUIET)
    with pytest.raises(UserError, match="config.yaml: is a file; pass a folder"):
        run_pipeline(run / "config.yaml", "train", QUIET)
    assert contents(folder) == before


SERIES = ["--data", "SeriesDataModule", "--data.rows", "300"]
DIGITS = ["--data", "DigitsDataModule", "--model", "Classification"]


@pytest.mark.parametrize(
    ("args", "arguments"),
    [
        (["--model.net", "MLP", "--model.net.hidden", "[8, 6]"], {"hidden": [2, 2], "dropout": 0}),
        ([*SERIES, "--model.net", "RNN", "--model.net.cell", "gru"], {"hidden": 8, "cell": "gru"}),
        ([*DIGITS, "--model.net", "CNN", "--model.net.hidden", "16"], {"channels": [8, 16], "hidden": 4, "dropout": 0}),
    ],
)
def test_a_student_is_the_same_kind_of_net_with_a_quarter_of_the_units_and_no_dropout(folder, capsys, args, arguments):
    train([*args, *QUIET])
    student = smaller_net("last")
    assert {name: student["init_args"][name] for name in arguments} == arguments


def test_a_linear_net_has_no_smaller_student(folder, capsys):
    train(QUIET)
    with pytest.raises(StageSkipped, match="Linear has no layer whose units can be removed"):
        smaller_net("last")


def test_a_difference_that_chance_may_make_is_no_gain():
    rng = np.random.default_rng(0)
    right = (rng.random(400) < 0.9).astype(float)
    changed = right.copy()
    changed[np.flatnonzero(right == 0)[:3]], changed[np.flatnonzero(right)[:2]] = 1, 0
    verdict = of_quality(measured(changed), measured(right), "1_train", ACCURACY)
    assert not verdict.gain
    assert verdict.text.startswith("no difference beyond chance from 1_train: accuracy +0.0025 (95 % interval ")
    better = np.maximum(right, rng.random(400) < 0.5)
    verdict = of_quality(measured(better), measured(right), "1_train", ACCURACY)
    assert verdict.gain
    assert verdict.text.startswith("better than 1_train: accuracy +")
    verdict = of_quality(measured(better), measured(right), "1_train", MSE)  # a higher error is worse
    assert not verdict.gain
    assert verdict.text.startswith("worse than 1_train: mse +")


def test_smaller_or_faster_is_a_gain_unless_quality_is_worse():
    scores = np.random.default_rng(0).random(50)
    before = measured(scores, 1_000, 1.0)
    verdict = of_compression(measured(scores, 250, 0.5), before, "1_train", MSE)
    numbers = "4.0 times smaller, 2.0 times faster at 1 row, 2.0 times faster at 64 rows"
    assert verdict == (True, f"no difference from 1_train in mse; {numbers}")
    gain, text = of_compression(measured(scores + 1, 250, 0.5), before, "1_train", MSE)
    assert gain is None  # a trade-off
    assert text == f"worse than 1_train: mse +1 (95 % interval +1 to +1); {numbers}"
    gain, text = of_compression(measured(scores + 1, 2_000, 1.05), before, "1_train", MSE)
    assert gain is False
    assert text.endswith("; 2.0 times larger, no faster at 1 row, no faster at 64 rows")
    gain, text = of_compression(measured(scores - 1, 2_000, 1.05), before, "1_train", MSE)
    assert gain is True  # better, although larger
    assert text.startswith("better than 1_train: mse -1 ")
    assert of_compression(before, before, "1_train", MSE).gain is False


def test_the_first_model_is_compared_with_a_constant_answer():
    verdict = of_training(measured(np.full(50, 0.25)), MSE)
    assert verdict == (True, "better than always predicting the training mean: mse 0.2500 against 1.000")
    gain, text = of_training(measured(np.full(50, 0.25)), ACCURACY)
    assert gain is False
    assert text == "no better than always predicting the most frequent class: accuracy 0.2500 against 1.000"


@pytest.mark.parametrize("rises", [True, False])
def test_the_front_holds_whatever_nothing_dominates(rises):
    rng = np.random.default_rng(3)
    points = [Point(str(k), *rng.integers(1, 12, 2).astype(float), 0, 0) for k in range(30)]

    def dominates(a, b):
        at_least = (a.y >= b.y if rises else a.y <= b.y) and a.x <= b.x
        return at_least and (a.x, a.y) != (b.x, b.y)

    expected = {(p.x, p.y) for p in points if not any(dominates(other, p) for other in points)}
    front = pareto_front(points, rises)
    assert {(p.x, p.y) for p in front} == expected
    assert [p.x for p in front] == sorted(p.x for p in front)


FAR_APART = [Point("1", 9e8, 0, -1, 1), Point("2", 1, 1, 0, 2)]


@pytest.mark.parametrize("points", [[Point("1", 5.0, 1.0, 1.0, 1.0)], FAR_APART])
def test_figures_follow_the_theme_of_the_page_and_escape_their_titles(points):
    curves = {"1": [3.0], "2": [1e-9, 2e6]}
    for svg in (trade_off(points, "x", "y <&>", True), curves_figure(curves, "x", "y <&>")):
        root = ElementTree.fromstring(svg)
        assert "y <&>" in [text.text for text in root.iter("text")]
        assert not re.search(r"#0123|http", svg)
        assert "var(--c1)" in svg
        assert "var(--text)" in svg


def test_a_stage_that_fails_keeps_those_before_it_and_is_done_again(folder, capsys, monkeypatch):
    def fail(*_):
        raise UserError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(STAGES["export"], "run", fail)
        with pytest.raises(UserError, match=r"^2_export: no luck \(finished stages are kept"):
            run_pipeline(None, "train,export", ["--trainer.max_epochs", "1"])
    weights = folder / "lightning_logs/lifecycle_0/1_train/checkpoints/best.ckpt"
    before = weights.stat().st_mtime_ns
    run_pipeline(folder / "lightning_logs/lifecycle_0", None, [])
    assert weights.stat().st_mtime_ns == before
    assert (folder / "lightning_logs/lifecycle_0/report.html").is_file()


@pytest.mark.slow
def test_integers_are_a_file_of_their_own_which_is_served(folder, capsys):
    args = [*DIGITS, "--model.net", "MLP", "--model.net.hidden", "[256, 256]", *QUIET]
    run_pipeline(None, "train,quantize,serve", args)
    found = json.loads((folder / "lightning_logs/lifecycle_0/report.json").read_text())
    train_, integers, serve, _ = found["rows"]
    assert read_metadata(folder / "lightning_logs/lifecycle_0" / integers["model"])["precision"] == "int8"
    assert integers["gain"] is not False
    assert train_["bytes"] > 3 * integers["bytes"]
    assert f"; {train_['bytes'] / integers['bytes']:.1f} times smaller" in integers["verdict"]
    assert integers["parameters"] == train_["parameters"] == 64 * 256 + 256 * 256 + 256 * 10 + 522
    assert (serve["source"], found["summary"]["last"]) == ("2_quantize", "2_quantize")
    assert evaluate(f"lightning_logs/lifecycle_0/{integers['model']}")[0]["test/accuracy"] == integers["metric"]
