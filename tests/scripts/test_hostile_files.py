"""Hostile files run no code, do not hang a command, and each leads to an error of one line."""

import pickle
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import yaml

from project.inference.evaluate import evaluate
from project.inference.predict import predict
from project.runtime.errors import UserError, exit_on_user_error
from project.training.train import train
from tests.command import run_script
from tests.scripts.hostile import bombs, rewritten, save, sealed, shared_lists, with_entry

SHORT = ["--epoch_line.every_n_epochs", "0", "--trainer.max_epochs", "1"]
BOMBS = ("system", "eval", "nested", "import", "torch_load", "hub", "compile")
SECTIONS = [
    *("model", "data", "optimizer", "lr_scheduler"),
    *(f"trainer.{name}" for name in ("callbacks", "logger", "plugins", "profiler", "strategy", "accelerator")),
    *("model.net", "model.loss", "trainer.callbacks.on_fit_start", "trainer.callbacks.0", "trainer.logger.0"),
]
PATHS = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "jsonargparse.set_parsing_settings",
    "torch.hub.load",
    "torch.serialization.load",
    "torch.nn.functional.torch.hub.load",
    "torch.nn.functional.torch.from_file",
    "torch.nn.modules.module.os.system",
    "lightning.pytorch.strategies.ddp.torch.load",
    "lightning.pytorch.callbacks.timer.re.sys.modules",
    "lightning.pytorch.callbacks.ModelCheckpoint.load_state_dict",
    "torch.nn.Module.load_state_dict",
    "project.data.table.pa.OSFile",
    "project.runs.checkpoint.load_model",
    "project.training.train.train",
    "antigravity.fly",
    "planted.Net",
]


@pytest.fixture
def marker(folder, monkeypatch):
    """A path that hostile code would create; after the test, neither it nor a run may exist."""
    path = folder / "marker"
    (folder / "planted.py").write_text(f"open({str(path)!r}, 'w')\nclass Net: ...\n")
    monkeypatch.syspath_prepend(str(folder))
    yield path
    assert not path.exists()
    assert not list(folder.glob("lightning_logs/*"))


@pytest.fixture
def checkpoint(default_run):
    return torch.load(default_run[0] / "checkpoints" / "last.ckpt", weights_only=True)


def refused(reference: Path | str, message: str = "") -> None:
    """Check that every command that reads a checkpoint refuses it with one short line."""
    Path("rows.csv").write_text("x\n1\n2\n")
    for command in (
        lambda: evaluate(str(reference)),
        lambda: predict(str(reference), Path("rows.csv"), Path("out.csv")),
        lambda: train(["--ckpt_path", str(reference), "--trainer.max_epochs", "200"]),
    ):
        with pytest.raises(UserError) as caught:
            command()
        assert message in str(caught.value)
        assert len(str(caught.value)) < 1_000
    assert not Path("out.csv").exists()


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


def hostile_config(section: str, path: str, marker: Path) -> str:
    """Return a configuration with a class path in a section."""
    value = {"class_path": path, "init_args": {"command": f"touch {marker}"}}
    *outer, last = section.split(".")
    if last == "0":
        return yaml.safe_dump({outer[0]: {outer[1]: [value]}})
    if section == "trainer.callbacks.on_fit_start":
        owner = "lightning.pytorch.callbacks.LambdaCallback"
        return yaml.safe_dump({"trainer": {"callbacks": {"class_path": owner, "init_args": {last: path}}}})
    if outer == ["model"]:
        return yaml.safe_dump({"model": {"class_path": "project.models.Regression", "init_args": {last: value}}})
    return yaml.safe_dump({outer[0]: {last: value}} if outer else {last: value})


def spread(first, second, every=3):
    """Return all pairs of two lists; the quick suite takes one of `every` pairs: each value of both comes up."""
    pairs = [(a, b, (i + j) % every) for i, a in enumerate(first) for j, b in enumerate(second)]
    return [pytest.param(a, b, marks=[pytest.mark.slow] if skipped else []) for a, b, skipped in pairs]


@pytest.mark.parametrize(("section", "path"), spread(SECTIONS, PATHS))
def test_a_class_path_outside_known_modules_is_refused(marker, section, path):
    marker.with_name("config.yaml").write_text(hostile_config(section, path, marker))
    with pytest.raises(UserError) as caught:
        train(["--config", "config.yaml", *SHORT])
    assert str(caught.value).startswith(f"--{section.removesuffix('.0')}")


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


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [*{chr(97 + i)}, *{chr(97 + i)}]}}\n" for i in range(24)
)
YAMLS = {
    "tag": ("model: !!python/object/apply:os.system ['touch marker']\n", "could not determine a constructor"),
    "tag of a class": ("!!python/object/new:subprocess.Popen [['touch', 'marker']]\n", "could not determine"),
    "tag of a module": ("trainer: !!python/module:planted\n", "could not determine"),
    "laughs": (LAUGHS, "unfolds to more than"),
    "merges": (MERGES, "unfolds to more than"),
    "cycle": ("model: &a [*a]\n", "alias *a has no anchor before it"),
    "deep": ("model: " + "[" * 200_000, "nest"),
    "deep blocks": ("".join(" " * i + "a:\n" for i in range(200)), "nested deeper"),
    "digits": ("trainer: {max_epochs: " + "1" * 100_000 + "}\n", "limit"),
    "date": ("model: 2001-99-99\n", "month must be in 1..12"),
    "nul": ("model: \0\n", "control characters"),
    "text": ("secret\nand more\n", "no settings in it"),
    "trust": ("trust: [planted]\nmodel: {class_path: planted.Net}\n", "'trust' is not accepted"),
    "numbers as keys": ("1: 2\n", "Key must be a string"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_runs_no_code_and_does_not_hang(marker, name):
    text, message = YAMLS[name]
    marker.with_name("hostile.yaml").write_text(text)
    for given in ("hostile.yaml", text if "\n" in text else text + "\n"):
        with pytest.raises(UserError) as caught:
            train(["--config", given, *SHORT])
        assert message in str(caught.value) or "planted" in str(caught.value)
        assert "and more" not in str(caught.value)


@pytest.mark.parametrize("section", ["model", "trainer", "data"])
def test_a_yaml_file_given_for_a_section_is_checked_too(marker, section):
    marker.with_name("hostile.yaml").write_text(LAUGHS)
    marker.with_name("outer.yaml").write_text(f"{section}: hostile.yaml\n")
    with pytest.raises(UserError, match="unfolds to more than"):
        train(["--config", "outer.yaml", *SHORT])


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
        ("many", "not a checkpoint"),
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
        (bytearray(8), "it holds a bytearray"),
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


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/a.ckpt", "https://x.invalid/a.ckpt", "s3://b/a.ckpt", "gs://b/a"]
)
def test_no_url_is_fetched(marker, monkeypatch, address):
    def connect(*_):
        marker.touch()
        raise AssertionError

    monkeypatch.setattr("socket.socket.connect", connect)
    refused(address, "no such run or checkpoint")
    for args in (["--config", address], ["--config", f"model: {address}\n"]):
        with pytest.raises(UserError):
            train([*args, *SHORT])


HEADERS = {
    "a name of megabytes": "x" * 5_000_000 + ",y\n" + "1,2\n" * 9,
    "a million columns": ",".join(f"c{i}" for i in range(1_000_000)) + ",y\n",
    "the same name many times": "c," * 20_000 + "y\n1,2\n",
    "many columns": ",".join(f"c{i}" for i in range(60_000)) + "\n",
    "NUL": "\0" * 1_000,
    "a NUL value": "a,y\n\0,1\n",
    "a value of megabytes": 'a,y\n"' + "x" * 3_000_000 + '",1\n',
    "an open quote": 'a,y\n"1,1\n' * 10_000,
    "a formula": "a,y\n=cmd|' /C touch marker'!A0,1\n",
    "a secret in a row": "root:x:0\na,b,secret,1\n",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_table_leads_to_a_short_error(marker, name):
    Path("rows.csv").write_text(HEADERS[name])
    with pytest.raises(UserError) as caught:
        train(["--data", "TabularDataModule", "--data.path", "rows.csv", "--data.target", "y", *SHORT])
    assert "rows.csv" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("length", [0, 10, 2**31 - 1, 2**32 - 1, "longer", "shorter", "pages"])
def test_a_forged_parquet_file_is_refused(marker, length):
    pyarrow.parquet.write_table(pa.table({"a": range(100), "y": range(100)}), "rows.parquet")
    content = Path("rows.parquet").read_bytes()
    true = int.from_bytes(content[-8:-4], "little")
    stated = {"longer": true + 50, "shorter": true - 5, "pages": true}.get(length, length)
    content = content[:-8] + stated.to_bytes(4, "little") + content[-4:]
    if length == "pages":
        content = content[:4] + b"\xff" * 200 + content[204:]
    Path("rows.parquet").write_bytes(content)
    with pytest.raises(UserError, match="rows.parquet"):
        train(["--data", "TabularDataModule", "--data.path", "rows.parquet", "--data.target", "y", *SHORT])


@pytest.mark.parametrize("path", ["loop.csv", "folder", "/etc/passwd", "/proc/self/mem", "../../../etc/shadow", "a\0b"])
def test_unusual_paths_lead_to_an_error_without_file_contents(marker, checkpoint, path):
    Path("loop.csv").symlink_to("loop.csv")
    Path("folder").mkdir()
    Path("folder/self").symlink_to("../folder")
    args = ["--data", "TabularDataModule", "--data.path", path, "--data.target", "y", *SHORT]
    with pytest.raises((UserError, OSError)) as caught:
        train(args)
    assert "nologin" not in str(caught.value)
    config = yaml.safe_load(checkpoint["config"])
    config["data"] = {"class_path": "project.data.TabularDataModule", "init_args": {"path": path, "target": "y"}}
    save(checkpoint | {"config": yaml.safe_dump(config)}, "hostile.ckpt")
    with pytest.raises((UserError, OSError)) as caught:
        evaluate("hostile.ckpt")
    assert "nologin" not in str(caught.value)


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "\x1b[2J", "x" * 1_000_000, "a\nb\rc", "\u202egnp.exe"])
def test_error_messages_contain_no_control_characters(capsys, text):
    with pytest.raises(SystemExit, match="2"), exit_on_user_error():
        raise UserError(f"rows.csv: there is no column {text}")
    line = capsys.readouterr().err
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert len(line) < 1_100


def test_too_little_memory_is_reported_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"), exit_on_user_error():
        torch.empty(10**15)
    assert capsys.readouterr().err.startswith("error: not enough memory")
