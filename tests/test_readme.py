"""Every command of README runs, in its order, as a newcomer would type it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.command import REPOSITORY, run_script
from tests.serving.running import running

TEXT = (REPOSITORY / "README.md").read_text()
# Those that install or test are run by .ci/run, and TensorBoard by a test of its own.
ELSEWHERE = ("pip install", "tensorboard", "pytest")


@pytest.fixture
def servers():
    with ExitStack() as stack:
        yield stack


def test_every_command_of_readme_runs(tmp_path, servers):
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, re.DOTALL):
        assert len(code.splitlines()) < 30
        (tmp_path / name).write_text(code)
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if not line.startswith(ELSEWHERE)]
    assert len(commands) > 10
    served = None
    for command in commands:
        match shlex.split(command):
            case ["python", "scripts/serve.py", artifact]:
                served = servers.enter_context(running(tmp_path / artifact))
                continue
            case ["curl", address]:  # of which not every machine has one
                assert served is not None
                assert served.client.get(urlsplit(address).path).status_code == 200
                continue
            case ["python", script, *args] if script.startswith("scripts/") and ">" not in args:
                done = run_script(tmp_path, Path(script).stem, *args)
            case _:
                done = subprocess.run(
                    command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
                )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stderr == "", f"{command} warns:\n{done.stderr}"
    assert (tmp_path / "predicted.csv").read_text().startswith("rooms,age,price,price_predicted\n")


def test_readme_shows_what_the_first_run_prints(default_run):
    printed = default_run[1].stdout
    [shown] = re.findall(r"```text\n(Epoch.*?)```", TEXT, re.DOTALL)
    for line in shown.splitlines():
        if not line.startswith(("…", "Run:")):
            assert line.rstrip() in [other.rstrip() for other in printed.splitlines()]


def test_files_that_readme_names_exist():
    for name in re.findall(r"\]\((?!http)(.*?)\)", TEXT) + re.findall(r"^(project/\S+|scripts/)", TEXT, re.MULTILINE):
        assert (REPOSITORY / name).exists(), name
