"""`scripts/serve.py` as a user runs it; it needs neither torch nor lightning."""

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
from tests.serving.running import MAX_LENGTH, running

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
    """Send requests (content type and body) to a server that is starting, stop it, and return its responses."""
    found = []
    try:
        url = process.stdout.readline().split()[-1]
        for kind, body in requests:
            request = urllib.request.Request(f"{url}/predict", body.encode(), {"content-type": kind})
            try:
                answer = urllib.request.urlopen(request, timeout=MAX_LENGTH)
            except urllib.error.HTTPError as error:
                answer = error
            found.append(answer.read().decode())
        process.terminate()
        assert process.wait(MAX_LENGTH) == 0
    finally:
        process.kill()
        process.communicate()
    return found


IN_JSON, IN_CSV = ("application/json", '{"rows": [[5]]}'), ("text/csv", "x\n5\n")
ANSWERS = ['{"predictions": [{"y": 17}]}', "x,y_predicted\n5,17\n"]


def started(artifact: Path, refused: list[str]) -> subprocess.Popen[str]:
    """Start a server in a process where some modules cannot be imported."""
    code = ALONE.format(refused=refused, scripts=str(REPOSITORY / "scripts"))
    args = [sys.executable, "-c", code, script_path("serve"), artifact, "--port", "0"]
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_server_imports_no_training_library(artifact):
    assert ask(started(artifact, TRAINING), IN_JSON, IN_CSV) == ANSWERS


def test_only_tables_need_pyarrow(artifact):
    process = started(artifact, [*TRAINING, "pyarrow"])
    assert ask(process, IN_JSON, IN_CSV, IN_JSON) == [
        ANSWERS[0],
        '{"detail": "the server lacks pyarrow; send application/json"}',
        ANSWERS[0],
    ]


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "onnxruntime"])
def test_a_missing_package_is_reported(artifact, module):
    process = started(artifact, [module])
    message, status = process.communicate(timeout=MAX_LENGTH)[1], process.returncode
    assert status == 2
    assert '".[serve]"' in message
    assert len(message.splitlines()) == 1


@pytest.mark.slow
def test_the_server_runs_in_an_environment_without_torch(artifact, folder):
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
def test_an_artifact_that_cannot_be_loaded_is_reported_in_one_line(folder, artifact, workers):
    for name, message in [("no.onnx", "no such file"), (".", "is a folder"), ("a.csv", "not an ONNX file")]:
        (folder / "a.csv").write_text("a,b\n" * 100)
        done = run_script(folder, "serve", name, "--port", "0", "--workers", workers)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_an_artifact_that_onnx_runtime_cannot_run_ends_the_server(artifact, workers):
    model = onnx.load(artifact)
    model.graph.node[1].op_type = "Nonsense"
    onnx.save(model, artifact)
    done = run_script(artifact.parent, "serve", artifact, "--port", "0", "--workers", workers)
    assert done.returncode == 2
    assert all("ONNX Runtime cannot load it" in line for line in done.stderr.splitlines())
    assert 1 <= len(done.stderr.splitlines()) <= workers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_reported(artifact, workers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_script(artifact.parent, "serve", artifact, "--port", port, "--workers", workers)
    assert done.returncode == 1
    assert f"--port {port}: Address already in use; use another address" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--port", "99999"], "--port: must be an integer from 0 to 65535, got 99999"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
        (["--workers", "0"], "--workers: must be an integer, 1 or more, got 0"),
        (["--threads", "-1"], "--threads: must be an integer, 1 or more, got -1"),
        (["--max_bytes", "0"], "--max_bytes: must be an integer, 1 or more, got 0"),
        (["--max_rows", "0"], "--max_rows: must be an integer, 1 or more, got 0"),
        (["--max_seconds", "0"], "--max_seconds: must be a number above 0, got 0"),
        (["--max_seconds", "nan"], "--max_seconds: must be a number above 0, got nan"),
        (["--max_requests", "0"], "--max_requests: must be an integer, 1 or more, got 0"),
    ],
)
def test_a_flag_out_of_range_is_reported(artifact, args, message):
    done = run_script(artifact.parent, "serve", artifact, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_server_listens_only_on_this_machine_by_default(artifact):
    with running(artifact) as server:
        assert server.url.startswith("http://127.0.0.1:")
        addresses = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
        assert f"0100007F:{server.port:04X}" in addresses
        assert f"00000000:{server.port:04X}" not in addresses
    with running(artifact, "--host", "::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert server.predict([[5]]) == [{"y": 17}]


def test_onnx_runtime_writes_no_telemetry(artifact, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    # ONNX Runtime collects telemetry of each session in a file in this folder, except when it runs in CI.
    with running(artifact, HOME=str(home), XDG_CACHE_HOME=str(home), CI="", GITHUB_ACTIONS="") as server:
        assert server.predict([[5]]) == [{"y": 17}]
    assert list(home.rglob("*")) == []


def test_help_lists_the_limits(folder):
    printed = run_script(folder, "serve", "--help").stdout
    for flag in ("--max_bytes", "--max_rows", "--max_seconds", "--max_requests", "--workers", "default: 127.0.0.1"):
        assert flag in printed


def test_the_parent_of_several_workers_loads_no_library(artifact):
    with running(artifact, "--workers", 2) as server:
        held = Path(f"/proc/{server.pid}/maps").read_text()
        assert "onnxruntime" not in held
        assert "numpy" not in held
