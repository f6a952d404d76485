"""Every command of README runs, in its order, as a newcomer would type it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.command import REPOSITORY, run_script

TEXT = (REPOSITORY / "README.md").read_text()
# Those that install, serve or test are run by .ci/run and by tests of their own.
ELSEWHERE = ("pip install", "tensorboard", "pytest", "python scripts/serve.py", "curl")


def test_every_command_of_readme_runs(tmp_path):
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, re.DOTALL):
        assert len(code.splitlines()) < 30
        (tmp_path / name).write_text(code)
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if not line.startswith(ELSEWHERE)]
    assert len(commands) > 10
    for command in commands:
        match shlex.split(command):
            case ["python", script, *words] if script.startswith("scripts/") and ">" not in words:
                done = run_script(tmp_path, Path(script).stem, *words)
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
