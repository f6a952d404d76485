"""Hostile checkpoints run no code, do not hang a command, and each leads to an error of one line."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.runtime.errors import UserError
from project.training.train import train
from tests.command import run_script
from tests.scripts.hostile import (
    SHORT,
    YAMLS,
    bombs,
    hostile_config,
    refused,
    rewritten,
    save,
    sealed,
    shared_lists,
    with_entry,
)

BOMBS = ("system", "eval", "nested", "import", "torch_load", "hub", "compile")


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("shape", ["pickle", "zip", "legacy", "inside"])
def test_no_pickle_is_executed(marker, checkpoint, default_run, name, shape, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    bomb, path = bombs(marker)[name], marker.with_name("bomb.ckpt")
    if shape == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif shape == "inside":
        save(checkpoint | {"hyper_parameters": {"net": bomb}}, path)
    elif shape == "zip":  # entry names of a genuine checkpoint, but another pickle
        genuine = default_run[0] / "checkpoints" / "last.ckpt"
        rewritten(genuine, path, lambda entry, old: pickle.dumps(bomb, 2) if entry.endswith("data.pkl") else old)
        sealed(path)
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=False)
    refused(path, "bomb.ckpt: not a checkpoint")


def test_the_pickles_would_run_code_if_they_were_loaded(folder):
    for name in ("system", "eval", "torch_load"):
        pickle.loads(pickle.dumps(bombs(folder / name)[name]))
        assert (folder / name).exists()


@pytest.mark.parametrize("args", [["evaluate"], ["predict", "rows.csv", "out.csv"], ["train"]])
def test_a_command_refuses_a_pickle_with_one_line(marker, args):
    path = marker.with_name("bomb.ckpt")
    save(bombs(marker)["system"], path)
    script, *others = args
    given = ["--ckpt_path", path] if script == "train" else [path, *others]
    done = run_script(marker.parent, script, *given)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {path}: not a checkpoint of this project")


@pytest.mark.parametrize("section", ["model", "model.net", "optimizer", "data", "trainer.plugins"])
@pytest.mark.parametrize("path", ["os.system", "planted.Net", "torch.nn.functional.torch.hub.load"])
def test_a_class_path_in_a_checkpoint_outside_known_modules_is_refused(marker, checkpoint, section, path):
    config = yaml.safe_load(checkpoint["config"])
    hostile = yaml.safe_load(hostile_config(section, path, marker))
    key = section.split(".")[0]
    config[key] = config[key] | hostile[key] if key == "trainer" else hostile[key]
    save(checkpoint | {"config": yaml.safe_dump(config)}, "hostile.ckpt")
    commands = [
        lambda: evaluate("hostile.ckpt"),
        lambda: train(["--ckpt_path", "hostile.ckpt", "--trainer.max_epochs", "200"]),
    ]
    if key == "model":
        Path("rows.csv").write_text("x\n1\n")
        commands.append(lambda: predict("hostile.ckpt", Path("rows.csv"), Path("out.csv")))
    for command in commands:
        with pytest.raises(UserError):
            command()


def test_instantiation_hints_of_lightning_in_a_checkpoint_are_ignored(folder, checkpoint):
    gadget = {
        "_instantiator": "os.system",
        "_class_path": "os.system",
        "_target_": "os.system",
        "command": "touch marker",
    }
    hostile = checkpoint | {
        "hyper_parameters": gadget,
        "datamodule_hyper_parameters": gadget,
        "hparams_type": "os.system",
        "hparams_name": "kwargs",
    }
    save(hostile, "hostile.ckpt")
    Path("rows.csv").write_text("x1\n1\n")
    evaluate("hostile.ckpt")
    train(["--ckpt_path", "hostile.ckpt", *SHORT[:3], "102"])
    assert not (folder / "marker").exists()


def test_evaluation_does_not_write_to_a_path_from_a_checkpoint(folder, checkpoint):
    config = yaml.safe_load(checkpoint["config"])
    written = {"dirpath": str(folder / "elsewhere"), "filename": "marker"}
    config["trainer"]["profiler"] = {"class_path": "lightning.pytorch.profilers.SimpleProfiler", "init_args": written}
    save(checkpoint | {"config": yaml.safe_dump(config)}, "hostile.ckpt")
    evaluate("hostile.ckpt")
    assert [path.name for path in folder.iterdir()] == ["hostile.ckpt"]


@pytest.mark.parametrize("name", ["tag", "laughs", "merges", "cycle", "deep", "digits", "text", "trust"])
def test_yaml_in_a_checkpoint_runs_no_code_and_does_not_hang(marker, checkpoint, name):
    save(checkpoint | {"config": YAMLS[name][0]}, "hostile.ckpt")
    refused("hostile.ckpt")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deflated", "unpacks to more than"),
        ("bomb", "unpacks to more than"),
        ("overlapping", "unpacks to more than"),
        ("../../climbing", "has an entry named"),
        ("/absolute", "has an entry named"),
        ("last/data.pkl", "has an entry named"),
        pytest.param("many", "not a checkpoint", marks=pytest.mark.slow),
    ],
)
def test_a_zip_file_that_unpacks_to_more_than_its_size_is_refused(marker, default_run, name, message):
    genuine, path = default_run[0] / "checkpoints" / "last.ckpt", marker.with_name("hostile.ckpt")
    if name == "deflated":
        rewritten(genuine, path, lambda _, old: old, zipfile.ZIP_DEFLATED)
    elif name == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("last/data.pkl", b"\0" * 300_000_000)
    elif name == "overlapping":  # many directory entries for the same bytes
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("0", b"\0" * 10_000)
            first = archive.infolist()[0]
            for number in range(1, 1_000):
                again = zipfile.ZipInfo(str(number))
                again.file_size, again.compress_size, again.CRC = first.file_size, first.compress_size, first.CRC
                again.header_offset = first.header_offset
                archive.filelist.append(again)
    elif name == "many":
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(50_000):
                archive.writestr(str(number), b"")
    else:
        with zipfile.ZipFile(genuine) as archive:
            name = archive.namelist()[0] if name.endswith("data.pkl") else name
        with_entry(genuine, path, name)
    refused(sealed(path), message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(1).expand(10**12), "larger than its storage"),
        (torch.zeros(1).as_strided((10**6, 10**6), (0, 0)), "larger than its storage"),
        (torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (10**12,)), "not dense"),
        (torch.empty(10**12, device="meta"), "not dense"),
        (shared_lists(45), "more than"),
        (shared_lists(200), "nested deeper"),
        (bytearray(8), "it contains a bytearray"),
    ],
)
@pytest.mark.parametrize("place", ["state_dict", "optimizer_states", "hyper_parameters"])
def test_values_that_expand_to_more_than_the_file_are_refused(marker, checkpoint, value, message, place):
    save(checkpoint | {place: {"net.net.linear.weight": value}}, "hostile.ckpt")
    refused("hostile.ckpt", message)


@pytest.mark.parametrize("key", ["config", "data", "state_dict"])
@pytest.mark.parametrize("value", [None, 3, "text", [], {}, {1: 2}, {"model": 1, "data": 2, "trainer": 3}])
def test_a_checkpoint_with_parts_of_the_wrong_type_is_refused(marker, checkpoint, key, value):
    save(checkpoint | {key: value}, "hostile.ckpt")
    refused("hostile.ckpt")


@pytest.mark.parametrize("key", ["loops", "epoch", "global_step", "callbacks", "pytorch-lightning_version"])
@pytest.mark.parametrize("value", [None, "x", 0.5])
def test_a_run_with_invalid_progress_is_not_resumed(marker, checkpoint, key, value):
    save(checkpoint | {key: value}, "hostile.ckpt")
    with pytest.raises(UserError):
        train(["--ckpt_path", "hostile.ckpt", "--trainer.max_epochs", "200"])


@pytest.mark.parametrize("name", ["runs/checkpoints/../../precious.ckpt", "s3://bucket/precious.ckpt", "runs/precious"])
@pytest.mark.parametrize("key", ["kth_best_model_path", "best_model_path", "last_model_path", "best_k_models"])
def test_a_checkpoint_that_names_files_outside_its_folder_is_refused(marker, checkpoint, key, name):
    state = {"dirpath": "runs", key: {name: torch.tensor(1.0)} if key == "best_k_models" else name}
    save(checkpoint | {"callbacks": {"ModelCheckpoint{}": state}}, "hostile.ckpt")
    refused("hostile.ckpt", "outside their own folder")
