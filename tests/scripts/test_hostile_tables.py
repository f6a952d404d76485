"""Hostile tables and paths lead to a short error that shows no contents of files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import yaml

from project.inference.evaluate import evaluate
from project.runtime.errors import UserError, exit_on_user_error
from project.training.train import train
from tests.scripts.hostile import SHORT, save

HEADERS = {
    "a name of megabytes": "x" * 5_000_000 + ",y\n" + "1,2\n" * 9,
    "a million columns": ",".join(f"c{i}" for i in range(1_000_000)) + ",y\n",
    "the same name many times": "c," * 20_000 + "y\n1,2\n",
    "many columns": ",".join(f"c{i}" for i in range(60_000)) + "\n",
    "NUL": "\0" * 1_000,
    "a NUL value": "a,y\n\0,1\n",
    "a value of megabytes": 'a,y\n"' + "x" * 3_000_000 + '",1\n',
    "an open quote": 'a,y\n"1,1\n' + "2,1\n" * 10_000,
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
