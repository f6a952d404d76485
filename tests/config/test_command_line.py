"""Command lines mean what their user means: the order of flags, files named like classes, the user's home."""

import pytest

from project.runtime.errors import UserError
from project.stages.base import parse


@pytest.mark.parametrize(
    "args",
    [
        "--optimizer.lr 0.3 --optimizer Adam",
        "--optimizer.lr=0.3 --data.rows 7 --optimizer=Adam",
        "--optimizer Adam --optimizer.lr 0.3",
    ],
)
def test_the_arguments_of_a_class_may_come_before_its_name(folder, args):
    config = parse(args.split())
    assert config["optimizer"]["class_path"] == "torch.optim.Adam"
    assert config["optimizer"]["init_args"]["lr"] == 0.3


def test_the_arguments_of_a_network_may_come_before_the_names_of_network_and_model(folder):
    args = ["--model.net.cell", "gru", "--model.l2", "0.1", "--model.net", "RNN", "--model", "Classification"]
    model = parse(args)["model"]
    assert model["class_path"] == "project.models.Classification"
    assert model["init_args"]["l2"] == 0.1
    assert model["init_args"]["net"]["class_path"] == "project.nets.RNN"
    assert model["init_args"]["net"]["init_args"]["cell"] == "gru"


def test_a_file_named_like_a_class_is_not_read(folder):
    for name in ("MLP", "Adam", "Classification", "DigitsDataModule", "EarlyStopping", "MSELoss"):
        (folder / name).write_text("class_path: torch.nn.Linear\n")
    args = ["--model", "Classification", "--model.net", "MLP", "--optimizer", "Adam", "--data=DigitsDataModule"]
    args += ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    config = parse(args)
    assert config["model"]["class_path"] == "project.models.Classification"
    assert config["model"]["init_args"]["net"]["class_path"] == "project.nets.MLP"
    assert config["optimizer"]["class_path"] == "torch.optim.Adam"
    assert config["data"]["class_path"] == "project.data.DigitsDataModule"
    assert config["trainer"]["callbacks"][0]["class_path"] == "lightning.pytorch.callbacks.EarlyStopping"


def test_a_file_named_like_a_class_is_not_read_by_a_configuration_beside_it(folder):
    (folder / "experiment").mkdir()
    for name in ("MLP", "Adam"):
        (folder / "experiment" / name).write_text("class_path: torch.nn.Linear\n")
    text = "model:\n  class_path: Regression\n  init_args:\n    net: MLP\noptimizer: Adam\n"
    (folder / "experiment" / "mlp.yaml").write_text(text)
    config = parse(["--config", "experiment/mlp.yaml"])
    assert config["model"]["init_args"]["net"]["class_path"] == "project.nets.MLP"
    assert config["optimizer"]["class_path"] == "torch.optim.Adam"


def test_a_file_named_like_a_value_is_not_read(folder):
    (folder / "ddp").write_text("class_path: lightning.pytorch.strategies.DDPStrategy\n")
    (folder / "simple").write_text("class_path: lightning.pytorch.profilers.AdvancedProfiler\n")
    (folder / "cpu").write_text("class_path: lightning.pytorch.accelerators.CUDAAccelerator\n")
    (folder / "Linear").write_text("class_path: project.nets.MLP\n")
    args = ["--trainer.strategy", "ddp", "--trainer.accelerator", "cpu", "--trainer.profiler", "simple"]
    config = parse([*args, "--model.net", "Linear"])
    assert [config["trainer"][name] for name in ("strategy", "accelerator", "profiler")] == ["ddp", "cpu", "simple"]
    assert config["model"]["init_args"]["net"]["class_path"] == "project.nets.Linear"


def test_a_section_can_be_a_file_of_its_own(folder):
    (folder / "adam.yaml").write_text("class_path: Adam\ninit_args:\n  lr: 0.3\n")
    assert parse(["--optimizer", "adam.yaml"])["optimizer"]["init_args"]["lr"] == 0.3


def test_a_path_may_begin_with_the_home_of_the_user(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "config.yaml").write_text("trainer:\n  default_root_dir: ~/runs\n")
    for args in (["--trainer.default_root_dir=~/runs"], ["--config=~/config.yaml"], ["--config", "config.yaml"]):
        assert parse(args)["trainer"]["default_root_dir"] == str(folder / "runs")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("00:00:10", 10), ("00:10:00", 600), ("00:00:10:00", 600), ("1:00:00:00", 86_400), ("1 day, 0:00:01", 86_401)],
)
def test_a_time_is_read_as_lightning_writes_it(folder, written, seconds):
    args = ["--trainer.strategy", "DDPStrategy", "--trainer.strategy.timeout", written]
    read = parse(args)["trainer"]["strategy"]["init_args"]["timeout"]
    again = parse([*args[:3], read])["trainer"]["strategy"]["init_args"]["timeout"]
    days, _, clock = read.rpartition(", ")
    hours, minutes, rest = map(float, clock.split(":"))
    assert again == read
    assert seconds == (int(days.split()[0]) if days else 0) * 86_400 + hours * 3_600 + minutes * 60 + rest


@pytest.mark.parametrize("written", ["10", "10:00", "1:2:3:4:5", "00:00:10x"])
def test_an_unreadable_time_is_reported(folder, written):
    with pytest.raises(UserError, match="--trainer.strategy.timeout: must be a time such as 00:30:00"):
        parse(["--trainer.strategy", "DDPStrategy", "--trainer.strategy.timeout", written])
