"""What the command says, and that it needs neither torch nor lightning."""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from pathlib import Path

import onnx
import pytest

from tests.command import REPOSITORY, run_script, script_path
from tests.serving.artifacts import metadata, write_linear
from tests.serving.running import running

TRAINING = ["torch", "lightning", "torchmetrics", "onnx", "sklearn", "scipy", "pandas", "matplotlib"]
ALONE = """
import runpy, sys
class Refuse:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"{{name}} is not for serving", name=name)
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
sys.path.insert(0, {scripts!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def artifact(folder) -> Path:
    return write_linear(folder / "model.onnx", [[3.0]], [2.0], metadata(["x"], ["y"]))


def ask(process: subprocess.Popen[str], *requests: tuple[str, str]) -> list[str]:
    """What a server that starts answers to bodies of some type, until it is stopped."""
    found = []
    try:
        url = process.stdout.readline().split()[-1]
        for kind, body in requests:
            request = urllib.request.Request(f"{url}/predict", body.encode(), {"content-type": kind})
            try:
                answer = urllib.request.urlopen(request, timeout=30)
            except urllib.error.HTTPError as error:
                answer = error
            found.append(answer.read().decode())
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
    return found


IN_JSON, IN_CSV = ("application/json", '{"rows": [[5]]}'), ("text/csv", "x\n5\n")
ANSWERS = ['{"predictions": [{"y": 17}]}', "x,y_predicted\n5,17\n"]


def started(artifact: Path, refused: list[str]) -> subprocess.Popen[str]:
    """A server where some modules cannot be imported."""
    code = ALONE.format(refused=refused, scripts=str(REPOSITORY / "scripts"))
    args = [sys.executable, "-c", code, script_path("serve"), artifact, "--port", "0"]
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_serving_imports_nothing_of_training(artifact):
    assert ask(started(artifact, TRAINING), IN_JSON, IN_CSV) == ANSWERS


def test_tables_alone_need_pyarrow(artifact):
    process = started(artifact, [*TRAINING, "pyarrow"])
    assert ask(process, IN_JSON, IN_CSV, IN_JSON) == [
        ANSWERS[0],
        '{"detail": "the server lacks pyarrow: give application/json"}',
        ANSWERS[0],
    ]


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "onnxruntime"])
def test_what_is_not_installed_is_told(artifact, module):
    process = started(artifact, [module])
    told, status = process.communicate(timeout=30)[1], process.returncode
    assert status == 2
    assert '".[serve]"' in told
    assert len(told.splitlines()) == 1


@pytest.mark.slow
def test_it_serves_where_there_is_no_torch(artifact, folder):
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime", "fastapi", "uvicorn", "pyarrow"], check=True)
    for name in ("torch", "lightning"):
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode == 1
    args = [python, script_path("serve"), artifact, "--port", "0", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert ask(process, IN_JSON, IN_CSV) == ANSWERS


@pytest.mark.parametrize("workers", [1, 2])
def test_an_artifact_that_cannot_be_loaded_is_told_in_one_line(folder, artifact, workers):
    for name, told in [("no.onnx", "there is no such file"), (".", "is a folder"), ("a.csv", "not an ONNX file")]:
        (folder / "a.csv").write_text("a,b\n" * 100)
        done = run_script(folder, "serve", name, "--port", "0", "--workers", workers)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_an_artifact_that_loads_but_does_not_run_ends_the_server(artifact, workers):
    model = onnx.load(artifact)
    model.graph.node[1].op_type = "Nonsense"
    onnx.save(model, artifact)
    done = run_script(artifact.parent, "serve", artifact, "--port", "0", "--workers", workers)
    assert done.returncode == 2
    assert all("ONNX Runtime cannot load it" in line for line in done.stderr.splitlines())
    assert 1 <= len(done.stderr.splitlines()) <= workers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_is_taken_is_told(artifact, workers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_script(artifact.parent, "serve", artifact, "--port", port, "--workers", workers)
    assert done.returncode == 2
    assert f"--port {port}: Address already in use: give others" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--port", "99999"], "--port is 99999"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
        (["--workers", "0"], "--workers is 0: give 1 or more"),
        (["--threads", "-1"], "--threads is -1"),
        (["--max_bytes", "0"], "--max_bytes is 0"),
        (["--max_rows", "0"], "--max_rows is 0"),
        (["--max_seconds", "0"], "--max_seconds is 0.0: give more than 0"),
        (["--max_seconds", "nan"], "--max_seconds is nan"),
        (["--max_requests", "0"], "--max_requests is 0"),
    ],
)
def test_a_flag_out_of_range_is_told(artifact, args, told):
    done = run_script(artifact.parent, "serve", artifact, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nothing_but_this_machine_reaches_it_unless_told(artifact):
    with running(artifact) as server:
        assert server.url.startswith("http://127.0.0.1:")
        addresses = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
        assert f"0100007F:{server.port:04X}" in addresses
        assert f"00000000:{server.port:04X}" not in addresses
    with running(artifact, "--host", "::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert server.predict([[5]]) == [{"y": 17}]


def test_it_keeps_no_account_of_itself(artifact, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    # ONNX Runtime would tell its makers of each session, by way of a file in here, though not from tests.
    with running(artifact, HOME=str(home), XDG_CACHE_HOME=str(home), CI="", GITHUB_ACTIONS="") as server:
        assert server.predict([[5]]) == [{"y": 17}]
    assert list(home.rglob("*")) == []


def test_help_says_what_limits_there_are(folder):
    told = run_script(folder, "serve", "--help").stdout
    for flag in ("--max_bytes", "--max_rows", "--max_seconds", "--max_requests", "--workers", "default: 127.0.0.1"):
        assert flag in told


def test_the_first_of_several_processes_holds_no_library(artifact):
    with running(artifact, "--workers", 2) as server:
        held = Path(f"/proc/{server.pid}/maps").read_text()
        assert "onnxruntime" not in held
        assert "numpy" not in held
