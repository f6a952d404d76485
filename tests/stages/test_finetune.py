"""A run that begins with the weights of another, on other data, with a new head, in part, or by adapters."""

import json
import random
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from project.exporting.export import export
from project.inference.evaluate import evaluate
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.finetune import finetune
from project.stages.prune import prune
from project.training.cli import ExperimentCLI
from project.training.train import train
from tests.command import REPOSITORY, run_script
from tests.trained import trained

QUIET = ["--epoch_line.every_n_epochs", "0"]
CNN = ["--config", str(REPOSITORY / "scripts/experiments/digits_cnn.yaml"), "--model.net.channels", "[4, 8]"]
CNN += ["--model.net.hidden", "16", *QUIET, "--trainer.limit_train_batches", "4"]
LOW, HIGH = ["--data.classes", "[0, 1, 2]"], ["--data.classes", "[5, 6, 7]"]
SOURCE, LAST = "lightning_logs/version_0", "checkpoints/last.ckpt"


@pytest.fixture
def source(folder, capsys):
    """A small CNN that knows the digits 0 to 2."""
    return folder / trained([*CNN, *LOW, "--trainer.max_epochs", "2"])


def state(run, name=LAST):
    return read_checkpoint(Path(run) / name)["state_dict"]


def moved(run, other=SOURCE, name=LAST):
    """Names of the tensors in which two runs differ."""
    before, after = state(other, "checkpoints/best.ckpt"), state(run, name)
    return {key for key, value in after.items() if key in before and not value.equal(before[key])}


def test_it_starts_where_the_run_ended(source):
    metrics = finetune(SOURCE, args=["--trainer.max_epochs", "0"])
    assert moved("lightning_logs/version_1") == set()
    expected, _ = evaluate(SOURCE)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_a_head_is_new_where_classes_are_others_and_features_are_standardised_as_before(source):
    metrics = finetune(SOURCE, args=[*HIGH, "--trainer.max_epochs", "0"])
    assert moved("lightning_logs/version_1") == {"net.net.head.weight", "net.net.head.bias"}
    config = yaml.safe_load(Path("lightning_logs/version_1/config.yaml").read_text())
    assert config["weights"]["reinitialize"] == ["head"]
    assert metrics["test/accuracy"] < 0.9


def test_a_frozen_backbone_moves_exactly_nothing_its_batch_norms_included(source, capsys):
    metrics = finetune(SOURCE, args=[*HIGH, "--finetuning.freeze", "[backbone]", "--trainer.max_epochs", "2"])
    assert moved("lightning_logs/version_1") == {"net.net.head.weight", "net.net.head.bias"}
    head = sum(value.numel() for name, value in state(SOURCE).items() if ".head." in name)
    assert metrics["parameters/trained"] == head == 16 * 3 + 3
    assert metrics["parameters/frozen_change"] == 0.0
    assert metrics["parameters"] == sum(parameter.numel() for parameter in load(SOURCE).net.net.parameters())
    assert "Trained from pretrained weights" in capsys.readouterr().out


def load(run):
    return load_model(read_checkpoint(find_checkpoint(str(run))))


@pytest.mark.slow
def test_layers_thaw_from_the_head_down(source):
    thawing = [*HIGH, "--finetuning.freeze", "[backbone]", "--finetuning.unfreeze_every", "1"]
    trained = []
    for number, epochs in enumerate(("1", "2", "3"), start=1):
        finetune(SOURCE, args=[*thawing, "--trainer.max_epochs", epochs])
        trained.append({name.split(".")[2] + name.split(".")[3] for name in moved(f"lightning_logs/version_{number}")})
    first, second, third = trained
    assert first == {"headweight", "headbias"}
    assert second - first == {"layers1"}
    assert third - second == {"blocks4", "blocks5"}  # the last convolution, with its batch norm


def test_deeper_layers_learn_slower(source):
    args = ["--config", str(source / "config.yaml"), "--finetuning.layer_decay", "0.5"]
    cli = ExperimentCLI([*args, "--trainer.logger", "false"])
    cli.trainer.fit(cli.model, cli.datamodule)
    [optimizer] = cli.trainer.optimizers
    names = {id(parameter): name for name, parameter in cli.model.named_parameters()}
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.003 * 0.5**depth for depth in range(4)])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(
            [
                "--finetuning.freeze",
                "[backbone]",
                "--finetuning.unfreeze_every",
                "1",
                "--finetuning.layer_decay",
                "0.5",
            ],
            marks=pytest.mark.slow,
        ),
        ["lora"],
    ],
    ids=["thawing", "adapters"],
)
def test_a_resumed_fine_tuning_ends_as_the_uninterrupted_one_also_without_its_source(source, args):
    lora = 2 if args == ["lora"] else None
    more = [*HIGH, *([] if lora else args)]
    finetune(SOURCE, lora, [*more, "--trainer.max_epochs", "4"])
    finetune(SOURCE, lora, [*more, "--trainer.max_epochs", "2"])
    source.rename("elsewhere")
    with pytest.warns(UserWarning, match="changes of the weights are not reported"):
        train(["--ckpt_path", "lightning_logs/version_2", "--trainer.max_epochs", "4"])
    whole, resumed = (state(f"lightning_logs/version_{number}") for number in (1, 2))
    assert all(value.equal(resumed[name]) for name, value in whole.items())


@pytest.mark.slow
def test_adapters_are_merged_in_what_is_loaded_and_the_next_stage_has_none(source):
    metrics = finetune(SOURCE, 2, [*HIGH, "--trainer.max_epochs", "2"])
    adapted = load("lightning_logs/version_1")
    assert set(adapted.state_dict()) == set(load(SOURCE).state_dict())
    found, _ = evaluate("lightning_logs/version_1")
    assert found["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-4)
    before = load(SOURCE).state_dict()
    change = (adapted.state_dict()["net.net.layers.1.weight"] - before["net.net.layers.1.weight"]).detach()
    assert 0 < torch.linalg.matrix_rank(change, atol=1e-6) <= 2
    finetune("lightning_logs/version_1", args=["--trainer.max_epochs", "0"])
    merged = state("lightning_logs/version_2")
    torch.testing.assert_close(merged, adapted.state_dict())


@pytest.mark.slow
def test_an_adapter_alone_is_small_and_makes_the_whole_with_its_run(source):
    finetune(SOURCE, 2, [*HIGH, "--trainer.max_epochs", "2"])
    path, _ = export("lightning_logs/version_1", format="adapter")
    assert path.name == "adapter.safetensors"
    assert path.stat().st_size < 8_000
    assert load_file(path).keys() >= {"net.net.head.weight", "net.net.layers.1.weight.lora_up"}
    args = [*CNN, *HIGH, "--trainer.max_epochs", "0", "--weights.path", str(path)]
    train(args)
    torch.testing.assert_close(state("lightning_logs/version_2"), load("lightning_logs/version_1").state_dict())
    with pytest.raises(UserError, match="the run has no adapters"):
        export(SOURCE, format="adapter")
    (source / "checkpoints/best.ckpt").write_bytes((source / LAST).read_bytes())
    train(["--ckpt_path", SOURCE, "--trainer.max_epochs", "3"])
    with pytest.raises(UserError, match="have changed since the adapters were trained"):
        train(args)


@pytest.mark.slow
def test_other_features_take_a_new_input_and_another_task_a_new_head(folder, capsys):
    rows = [[random.gauss(0, 1) for _ in range(3)] for _ in range(60)]
    lines = [f"{a},{b},{c},{'yes' if a + b > 0 else 'no'},{a + b}" for a, b, c in rows]
    (folder / "t.csv").write_text("a,b,c,kind,sum\n" + "\n".join(lines))
    net = ["--model.net", "MLP", "--model.net.hidden", "[8, 8]", *QUIET, "--trainer.max_epochs", "2"]
    table = ["--data", "TabularDataModule", "--data.path", "t.csv"]
    classes = ["--data.target", "kind", "--data.task", "classification", "--data.features", "[a, b]"]
    train([*net, *table, *classes, "--model", "Classification"])
    numbers = [*net, *table, "--data.target", "sum", "--weights.path", SOURCE, "--trainer.max_epochs", "0"]
    with pytest.raises(UserError, match=r'net.layers.1.weight has shape \(8, 2\).*\(8, 3\).*"\[head, input\]"'):
        train([*numbers, "--data.features", "[a, b, c]"])
    train([*numbers, "--data.features", "[a, b, c]", "--weights.reinitialize", "[head, input]"])
    before, after = state(SOURCE, "checkpoints/best.ckpt"), state("lightning_logs/version_1")
    kept = {name for name in after if name in before and after[name].equal(before[name])}
    assert kept == {"net.net.layers.4.weight", "net.net.layers.4.bias"}  # between input and head
    train([*numbers, "--data.features", "[a, b]", "--finetuning.freeze", "[backbone]", "--trainer.max_epochs", "1"])
    assert json.loads(Path("lightning_logs/version_2/metrics.json").read_text())["parameters/trained"] == 9


def test_last_is_the_run_that_it_meant_when_training_began(source):
    args = ["--config", str(source / "config.yaml"), "--trainer.max_epochs", "0", "--weights.path", "last"]
    train(args)
    train([*CNN, *LOW, "--trainer.max_epochs", "1", "--seed_everything", "1"])  # which is the last one now
    train(["--config", "lightning_logs/version_1/config.yaml"])
    assert moved("lightning_logs/version_3") == set()


def test_weights_come_from_safetensors_as_from_a_run(source):
    model = load(SOURCE)
    save_file(model.state_dict(), "weights.safetensors")
    config = ["--config", str(source / "config.yaml"), "--trainer.max_epochs", "0"]
    train([*config, "--weights.path", "weights.safetensors"])
    assert moved("lightning_logs/version_1") == set()
    head = {name: value for name, value in model.state_dict().items() if ".head." in name}
    save_file(head | {"net.net.extra": torch.zeros(1)}, "part.safetensors")
    with pytest.raises(UserError, match=r"missing net.blocks.0.weight,.* and \d+ more; unexpected net.extra"):
        train([*config, "--weights.path", "part.safetensors"])
    with pytest.warns(UserWarning, match="unexpected net.extra"):
        train([*config, "--weights.path", "part.safetensors", "--weights.strict", "false"])
    assert "net.net.head.weight" not in moved("lightning_logs/version_2")
    assert "net.net.blocks.0.weight" in moved("lightning_logs/version_2")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--finetuning.freeze", "[backbone, head]"], "nothing is left to train"),
        (
            ["--finetuning.freeze", "[foo]"],
            "--finetuning.freeze: CNN has no part 'foo'; use one of backbone, blocks, layers, head",
        ),
        (["--finetuning.unfreeze_every", "2"], "nothing is frozen"),
        (["--finetuning.layer_decay", "0"], "--finetuning.layer_decay: must be a number above 0, at most 1, got 0"),
        ([*HIGH, "--weights.reinitialize", "[foo]"], "--weights.reinitialize: CNN has no part 'foo'"),
        (
            ["--data.classes", "[1, 2]", "--weights.reinitialize", "[]"],
            r"has shape \(3, 16\), but the net",
        ),
        (["--model.net", "MLP"], "weights are of another net"),
        (["--weights.path", "no.safetensors"], "--weights.path: a stage uses the weights of the run"),
        (["--ckpt_path", "last"], "--ckpt_path: a stage starts a new run"),
        (
            ["--optimizer", "LBFGS", "--finetuning.layer_decay", "0.5"],
            "--finetuning.layer_decay, --optimizer or",
        ),
        (["--sampling.labels", "3", "--sampling.unlabelled", "true"], "only distillation can use rows without"),
    ],
)
def test_a_mistake_is_told_before_any_training(source, args, told):
    with pytest.raises(UserError, match=told):
        finetune(SOURCE, args=args)
    assert [path.name for path in Path("lightning_logs").iterdir()] == ["version_0"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--weights.path", "no.safetensors"], "no.safetensors: no such file"),
        (["--weights.path", "bad.safetensors"], "bad.safetensors: not a safetensors file"),
        (["--weights.reinitialize", "[head]"], "--weights.reinitialize: has no effect without --weights.path"),
        (["--pruning.epochs", "3"], "--pruning.epochs: has no effect without --pruning.sparsity"),
        (["--finetuning.freeze", "[backbone]"], "Linear has no trainable parameters there; remove it"),
        (["--finetuning.layer_decay", "0.5"], "--finetuning.layer_decay: has no effect if only one layer is trained"),
        (
            ["--model", "LinearRegression", "--finetuning.layer_decay", "0.5"],
            "has no effect with the closed-form LinearRegression",
        ),
        (
            ["--model", "LinearRegression", "--pruning.sparsity", "0.5"],
            "has no effect with the closed-form LinearRegression",
        ),
        (["--model.net", "LoRA"], "--model.net: LoRA needs net; add --model.net.net NET$"),
    ],
)
def test_a_mistake_about_weights_is_told_before_any_training(folder, args, told):
    Path("bad.safetensors").write_text("hello")
    with pytest.raises(UserError, match=told):
        train(args)
    assert not list(Path("lightning_logs").glob("*"))


def test_a_configuration_does_not_take_the_place_of_the_runs_weights(source):
    Path("other.yaml").write_text("weights: {path: null}\n")
    with pytest.raises(UserError, match="--config: sets weights.path, but a stage uses the weights of the run"):
        finetune(SOURCE, args=["--config", "other.yaml"])
    with pytest.raises(UserError, match="--config: sets weights.path, but a stage uses the weights of the run"):
        prune(SOURCE, structured=0.5, args=["--config", "other.yaml"])


def test_a_part_of_a_net_that_is_all_head_is_frozen(folder, capsys):
    train([*QUIET, "--trainer.max_epochs", "2", "--finetuning.freeze", "[linear.bias]"])
    net = load_model(read_checkpoint(find_checkpoint("last"))).net.net
    assert (net.linear.bias == 0).all()
    assert (net.linear.weight != 0).all()


@pytest.mark.parametrize(
    ("lora", "args", "told"),
    [
        (0, [], "LoRA: rank must be 1 or more, got 0"),
        (4, ["--finetuning.freeze", "[backbone]"], "LoRA has no trainable parameters there"),
        (4, ["--finetuning.layer_decay", "0.5"], "has no effect if only one layer is trained"),
    ],
)
def test_adapters_leave_nothing_to_freeze_or_to_slow_down(source, lora, args, told):
    with pytest.raises(UserError, match=told):
        finetune(SOURCE, lora, args)
    assert [path.name for path in Path("lightning_logs").iterdir()] == ["version_0"]


def test_adapters_need_a_layer_to_adapt(folder, capsys):
    train(["--trainer.max_epochs", "1", *QUIET])
    with pytest.raises(UserError, match="LoRA: Linear has no linear"):
        finetune("last", 4)


@pytest.mark.slow
def test_two_processes_thaw_as_one_does_with_twice_the_batch_size(folder, capsys):
    net = ["--model.net", "MLP", "--model.net.hidden", "[8, 8]", "--optimizer.lr", "0.05", *QUIET]
    train([*net, "--trainer.max_epochs", "2"])
    thawing = ["--finetuning.freeze", "[backbone]", "--finetuning.unfreeze_every", "1", "--trainer.max_epochs", "4"]
    finetune(SOURCE, args=thawing)
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    done = run_script(folder, "finetune", SOURCE, *thawing, *two, "--data.batch_size", "10")
    assert done.returncode == 0, done.stderr
    one, both = (state(f"lightning_logs/version_{number}") for number in (1, 2))
    torch.testing.assert_close(both, one, rtol=1e-5, atol=1e-6)
    assert moved("lightning_logs/version_2") >= {"net.net.layers.1.weight", "net.net.layers.4.weight"}
