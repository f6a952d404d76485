"""What commands answer at once: help, version, and what is missing."""

import inspect
import re
import subprocess
import sys

import pytest

import project.data
import project.models
import project.nets
from project.config.class_help import class_help
from project.exporting.export import FORMATS
from project.stages.base import parse
from project.training.help import DATA, EXAMPLES, FLAGS, MODELS, NETWORKS, short_help
from tests.command import REPOSITORY, run_script

SCRIPTS = sorted(path for path in (REPOSITORY / "scripts").glob("*.py") if path.stem != "installed")


def test_help_fits_two_screens():
    lines = short_help().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100


DISTILLED = {"DistilledClassification", "DistilledLanguageModel", "DistilledRegression"}
OPTIMIZING = {"MuonAdamW", "WarmupCosine", "WarmupStable"}


@pytest.mark.parametrize(
    ("shown", "module", "not_shown"),
    [
        (NETWORKS, project.nets, {"Net", "SequenceNet", "Ensemble", "LoRA", "Pruned"}),
        (DATA, project.data, {"RowsDataModule"}),
        (MODELS, project.models, DISTILLED | OPTIMIZING | {"PinballLoss"}),
    ],
)
def test_help_names_the_classes_that_a_user_chooses(shown, module, not_shown):
    classes = {name for name in module.__all__ if inspect.isclass(getattr(module, name))}
    assert shown.keys() == classes - not_shown


def test_help_shows_the_real_defaults(folder):
    config = parse([])
    shown = {
        flag.split()[0]: default.removesuffix(" for images and text").removesuffix(" for text")
        for flag, (_, default) in FLAGS.items()
    }
    images, text = (data.default_epochs for data in (project.data.ImageDataModule, project.data.TextDataModule))
    expected = f"{config['trainer']['max_epochs']}; {images} for images, {text} for text"
    assert shown["--trainer.max_epochs"] == expected.removesuffix(" for text")
    other = inspect.signature(project.data.RowsDataModule).parameters["batch_size"].default
    assert shown["--data.batch_size"] == f"{config['data']['init_args']['batch_size']}; {other} for other data"
    other = inspect.signature(project.models.LanguageModel).parameters["optimizer"].default
    suited = {"class_path": "torch.optim.AdamW", "init_args": other.keywords}
    assert project.data.ImageDataModule.default_optimizer == suited
    assert shown["--optimizer"] == f"{config['optimizer']['class_path'].rpartition('.')[2]}; {other.func.__name__}"
    assert shown["--optimizer.lr"] == f"{config['optimizer']['init_args']['lr']}; {other.keywords['lr']}"
    assert shown["--lr_scheduler"] == "none"
    assert config["lr_scheduler"] is None
    assert shown["--model.loss"].split(";")[0] == config["model"]["init_args"]["loss"]["class_path"].rpartition(".")[2]
    assert shown["--seed_everything"] == str(config["seed_everything"])
    assert shown["--trainer.accelerator"] == config["trainer"]["accelerator"]


@pytest.mark.parametrize("example", [example for example in EXAMPLES if "--ckpt_path" not in example])
def test_the_examples_of_help_parse(folder, example):
    (folder / "houses.csv").write_text("rooms,age,price\n1,2,3\n")
    parse(example.replace("scripts/", f"{REPOSITORY}/scripts/").split())


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["--model.net", "MLP", "--help"]])
def test_help_imports_neither_torch_nor_lightning(args):
    script = f"""
import runpy, sys
sys.argv = ["train.py", *{args}]
runpy.run_path("train.py", run_name="__main__")
print({{*sys.modules}} & {{"torch", "lightning"}})
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY / "scripts")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{short_help()}\nset()\n"


@pytest.mark.parametrize("args", [["--help", "all"], ["--help=all"]])
def test_help_all_lists_every_flag(folder, args):
    done = run_script(folder, "train", *args)
    assert done.returncode == 0, done.stderr
    for flag in ("--trainer.max_epochs", "--trainer.limit_predict_batches", "--finetuning.freeze", "--sampling.labels"):
        assert flag in done.stdout
    for markup in ("<class", ":class:", ":paramref:", "``", "Linked arguments"):
        assert markup not in done.stdout


def test_help_of_export_names_every_format(folder):
    shown = run_script(folder, "export", "--help").stdout
    assert {*FORMATS} <= {*re.findall(r"[\w-]+", shown)}


def test_help_of_a_class_shows_flags_as_they_are_typed(folder):
    shown = {"--model.net.help MLP": "--model.net.hidden", "--optimizer.help Adam": "--optimizer.betas"}
    for args, flag in (shown | {"--model.help Classification": "--model.l1"}).items():
        done = run_script(folder, "train", *args.split())
        assert done.returncode == 0, done.stderr
        assert f"  {flag} " in done.stdout
        assert "known subclasses" not in done.stdout


@pytest.mark.parametrize("model", MODELS)
def test_help_of_a_model_shows_only_what_a_user_may_set(model):
    shown = class_help("--model", getattr(project.models, model))
    for argument in ("in_shape", "out_features", "token_bytes", "levels", "optimizer", "lr_scheduler"):
        assert f"--model.{argument} " not in shown


def test_version_names_the_versions_that_matter(folder):
    done = run_script(folder, "train", "--version")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["hello-lightning", "torch", "lightning"]


@pytest.mark.parametrize("found", [False, True], ids=["nothing", "dependencies"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_without_its_installation_ends_with_one_line(tmp_path, script, found):
    args = ARGS.get(script.stem, ["run"])
    environment = {"PYTHONPATH": str(REPOSITORY)} if found else {}
    command = [sys.executable, "-S", str(script), *args]  # -S leaves out what is installed
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: [^\n]* is not installed; [^\n]*run pip install -e \.\n", done.stderr), done.stderr


ARGS = {
    **{script: [] for script in ("train", "lifecycle", "crossvalidate", "benchmark")},
    "predict": ["run", "rows.csv", "out.csv"],
    "ensemble": ["run", "run"],
    "sweep": ["--search.optimizer.lr", "1, 2"],
}
