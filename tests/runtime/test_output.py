"""Whatever happens to standard output, a command does its work, and its status says if something printed got lost."""

import errno
import os
import re
import subprocess
import sys

import pytest

from project.runtime.files import atomic_write
from tests.command import REPOSITORY

WORK = """
import sys
from pathlib import Path
from rich.table import Table
from project.runtime.console import open_console
from project.runtime.errors import exit_on_user_error
with exit_on_user_error():
    for line in range(20_000):
        print(line, "\\u00b1")
    table = Table("a")
    table.add_row("\\u00b1")
    open_console().print(table)
    with Path(sys.argv[1]).open("w") as file:
        file.write("done")
"""
RAISE = """
import sys
from project.runtime.errors import UserError, exit_on_user_error
with exit_on_user_error():
    error = OSError(int(sys.argv[1]), "problem", *sys.argv[3:])
    if sys.argv[2] == "cause":
        raise UserError("message") from error
    raise error from (error if sys.argv[2] == "circle" else None)
"""


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        ("| head -1", 0, ""),
        (">&-", 0, ""),
        ("2>&- >&-", 0, ""),
        ("> /dev/full", 1, "error: standard output: No space left on device\n"),
        ("> /dev/null 2> /dev/full", 0, ""),
    ],
)
def test_output_that_nobody_gets_does_not_end_the_work(tmp_path, redirection, status, message):
    command = f'set -o pipefail; "$@" {redirection} '
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", WORK, tmp_path / "file"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (status, message)
    assert (tmp_path / "file").read_text() == "done"


@pytest.mark.parametrize(
    "settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_terminal_without_a_character_shows_a_question_mark(tmp_path, settings):
    done = subprocess.run(
        [sys.executable, "-c", WORK, tmp_path / "file"], env=os.environ | settings, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"0 ?\n1 ?\n")
    assert done.stdout.decode("ascii").count("?") == 20_001


@pytest.mark.parametrize("name", ["ENOSPC", "EFBIG", "EROFS", "ENAMETOOLONG", "ELOOP", "EMFILE", "EADDRINUSE"])
def test_a_problem_of_the_machine_is_one_line_and_status_1(name):
    done = _raise(name, "plain", "file.ckpt")
    assert (done.returncode, done.stderr) == (1, "error: file.ckpt: problem\n")


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["ENOSPC", "plain"], 1, "error: problem\n"),
        (["ENOSPC", "circle"], 1, "error: problem\n"),
        (["ENOSPC", "cause"], 1, "error: message\n"),
        (["ECONNRESET", "cause"], 2, "error: message\n"),
        (["ENOENT", "plain", "file"], 2, "error: file: problem\n"),
        (["EACCES", "plain", "file"], 2, "error: file: problem\n"),
    ],
)
def test_the_status_says_whose_fault_an_error_is(args, status, message):
    done = _raise(*args)
    assert (done.returncode, done.stderr) == (status, message)


def test_other_errors_of_the_operating_system_keep_their_traceback():
    assert "Traceback" in _raise("ECONNRESET", "plain").stderr


def _raise(name, *args):
    number = str(getattr(errno, name))
    return subprocess.run([sys.executable, "-c", RAISE, number, *args], capture_output=True, text=True)


def test_what_a_killed_process_has_left_is_removed_by_the_next_one(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from project.runtime.files import atomic_write
from tests.command import REPOSITORY
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path, other = tmp_path / "out[1].csv", tmp_path / "other.csv"
    for target in (path, other):
        subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    [killed, others] = sorted(tmp_path.iterdir(), key=lambda file: file.name.endswith("other.csv"))
    running = killed.with_name(re.sub(r"-\d+\.", f"-{os.getppid()}.", killed.name))
    running.write_text("of a process that still writes")
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
    assert {*tmp_path.iterdir()} == {path, others, running}
    assert path.read_text() == "whole"


@pytest.mark.parametrize(
    ("environment", "kept"),
    [
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "1"}, False),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, True),
        ({"NODE_RANK": "1", "MASTER_ADDR": "host"}, True),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, True),
    ],
)
def test_a_rank_without_a_job_is_ignored(environment, kept):
    [name, *_] = environment
    code = f"""
import os
from project.runtime.errors import exit_on_user_error
with exit_on_user_error():
    print({name!r} in os.environ)
"""
    clean = {key: value for key, value in os.environ.items() if "RANK" not in key and "SLURM" not in key}
    done = subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)
    assert done.stdout == f"{kept}\n"
    assert done.stderr.startswith(f"warning: ignored {name}") is not kept


@pytest.mark.parametrize("name", ["ENOSPC", "EFBIG"])
def test_an_error_while_writing_names_the_file(tmp_path, name):
    with pytest.raises(OSError, match="problem") as raised, atomic_write(tmp_path / "out.csv"):
        raise OSError(getattr(errno, name), "problem")  # as writing to an open file raises
    assert raised.value.filename == str(tmp_path / "out.csv")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_printed_is_seen_at_once(unbuffered):
    code = (
        "import os, sys; from project.runtime.output import tolerate_output_errors; tolerate_output_errors(); "
        "print('told', file=sys.stderr); os._exit(0)"
    )
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == "told\n"
