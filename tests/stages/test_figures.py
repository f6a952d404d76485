"""What stages are worth, as means over seeds 0 to 4; slow, and printed with `-s`."""

import statistics
import time
from pathlib import Path

import pytest

from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.stages.distill import distill
from project.stages.ensemble import combine, train_jointly
from project.stages.finetune import finetune
from project.training.train import train
from tests.command import REPOSITORY

pytestmark = pytest.mark.slow
QUIET = ["--epoch_line.every_n_epochs", "0", "--trainer.logger", "false"]
SEEDS = range(5)
LSTM, CNN = (
    ["--config", str(REPOSITORY / f"scripts/experiments/digits_{name}.yaml"), *QUIET] for name in ("lstm", "cnn")
)


def seeded(seed):
    return ["--seed_everything", str(seed), "--data.seed", str(seed), "--sampling.seed", str(seed)]


def test_fine_tuning_beats_a_start_from_scratch_and_adapters_come_close(folder, capsys):
    """Digits 5 to 9, ten labels of each, twenty steps of the same settings, after digits 0 to 4."""
    few = ["--data.classes", "[5,6,7,8,9]", "--sampling.labels", "50", "--data.batch_size", "10"]
    few += ["--trainer.max_epochs", "4", "--optimizer.lr", "0.005", *QUIET]
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        train([*LSTM, *seeded(seed), "--data.classes", "[0,1,2,3,4]", "--trainer.max_epochs", "10"])
        source = str(find_checkpoint("last"))
        args = [*few, *seeded(seed + 100), "--data.seed", str(seed)]
        adapted = finetune(source, 4, [*args, "--optimizer.lr", "0.007"])  # what starts at zero may learn faster
        runs = {"scratch": train([*LSTM, *args]), "full": finetune(source, None, args), "lora": adapted}
        for name, metrics in runs.items():
            found.setdefault(name, []).append(metrics["test/accuracy"])
    means = {name: statistics.mean(values) for name, values in found.items()}
    share = adapted["parameters/trained"] / adapted["parameters"]
    with capsys.disabled():
        print(f"\n{means}, adapters and head are {share:.3f} of all parameters")
    assert means["full"] >= means["scratch"] + 0.05
    assert share <= 0.1
    assert means["lora"] >= means["full"] - 0.02


def test_an_ensemble_of_five_beats_its_mean_member(folder, capsys):
    gains = []
    for seed in SEEDS:
        members = []
        for member in range(5):
            metrics = train([*CNN, *seeded(seed), "--seed_everything", str(10 * seed + member)])
            members.append((metrics, str(find_checkpoint("last"))))
        joint = combine([path for _, path in members], QUIET)
        means = [statistics.mean(metrics[name] for metrics, _ in members) for name in ("test/accuracy", "test/loss")]
        gains.append((joint["test/accuracy"], means[0], joint["test/loss"], means[1]))
    accuracy, member_accuracy, loss, member_loss = (statistics.mean(values) for values in zip(*gains, strict=True))
    with capsys.disabled():
        print(f"\naccuracy {accuracy:.4f}, member {member_accuracy:.4f}; NLL {loss:.4f}, member {member_loss:.4f}")
    assert accuracy > member_accuracy
    assert loss < member_loss


def test_twenty_linear_members_are_trained_together_faster_and_alike(folder, capsys):
    args = ["--data.features", "10", "--data.rows", "2000", "--trainer.max_epochs", "10", *QUIET]
    start = time.perf_counter()
    for seed in range(20):
        train([*args, "--seed_everything", str(seed), "--sampling.bootstrap", str(seed)])
    middle = time.perf_counter()
    train_jointly(20, True, args)
    joint, loop = time.perf_counter() - middle, middle - start
    runs = sorted(Path("lightning_logs").iterdir(), key=lambda path: int(path.name[8:]))
    *alone, together = (load_model(read_checkpoint(run / "checkpoints/last.ckpt")).net.net for run in runs)
    difference = max(
        (a - b).abs().max().item()
        for net, member in zip(alone, together.members, strict=True)
        for a, b in zip(net.parameters(), member.parameters(), strict=True)
    )
    with capsys.disabled():
        print(f"\na loop takes {loop / joint:.1f} times as long; weights differ by at most {difference:.1e}")
    assert difference < 1e-5
    assert loop > 5 * joint


def test_distillation_pays_where_most_rows_have_no_label(folder, capsys):
    """150 labels; the student alone takes as many steps over them as with the teacher over all rows."""
    found = {"labels alone": [], "student": [], "teacher": []}
    full: dict[str, list[float]] = {"labels alone": [], "student": []}
    for seed in SEEDS:
        train([*CNN, *seeded(seed)])
        teacher = str(find_checkpoint("last"))
        args = [*seeded(seed), "--model.net", "MLP", "--model.labels_weight", "0.1", *QUIET]
        few = ["--sampling.labels", "150"]
        student = distill(teacher, False, [*args, *few, "--sampling.unlabelled", "true"])
        steps = ["--trainer.max_epochs", "320", "--lr_scheduler.T_max", "320"]  # 5 steps an epoch, and not 40
        alone = train([*CNN, *seeded(seed), "--model.net", "MLP", *few, *steps])
        for name, metrics in (student | {"labels alone": alone}).items():
            found[name].append(metrics["test/accuracy"])
        for name, metrics in distill(teacher, True, args).items():
            full.setdefault(name, []).append(metrics["test/accuracy"])
    means = {name: round(statistics.mean(values), 4) for name, values in found.items()}
    with capsys.disabled():
        print(f"\n150 labels: {means}; all labels: { {n: round(statistics.mean(v), 4) for n, v in full.items()} }")
    assert means["student"] >= means["labels alone"] + 0.05
