"""README and docs: every command runs in page order, prints what the page shows, and every name on a page exists."""

import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.command import REPOSITORY, run_script
from tests.serving.running import running

README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]
EVERY = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
# Their commands take minutes together.
LONG = (
    *("data", "dialogue", "export-and-serving", "extending", "images", "pipeline", "public-weights"),
    *("python", "stages", "text", "training", "tutorial"),
)
COMMANDS = pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow) if page.stem in LONG else page for page in PAGES],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
MAX_WORDS = 1_200  # of README: ten minutes' reading
# CI runs the commands that install and test; another test covers TensorBoard.
ELSEWHERE = ("pip install", "tensorboard", "pytest")
NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")


class Walk:
    """Runs the commands of one page in a folder of its own.

    Args:
        folder: An empty folder, which gets a copy of scripts/.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.server, self.servers = folder, None, ExitStack()
        shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path}

    def run(self, command: str) -> str:
        """Run a command, which must succeed without a warning, and return what it prints."""
        match shlex.split(command):
            case ["python", "scripts/serve.py", artifact, *args]:
                self.server = self.servers.enter_context(running(self.folder / artifact, *args))
                return ""
            case ["curl", *args, address]:  # sent by httpx: not every machine has curl
                return self._request(args, urlsplit(address).path)
            case ["python", script, *args] if script.startswith("scripts/") and ">" not in args:
                done = run_script(self.folder, Path(script).stem, *args)
                assert done.stderr == "", f"{command} warns:\n{done.stderr}"
            case _:
                done = subprocess.run(
                    command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True
                )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    def _request(self, args: list[str], path: str) -> str:
        assert self.server is not None
        match args:
            case ["--json", body]:
                answer = self.server.client.post(path, content=body, headers={"content-type": "application/json"})
            case _:
                assert args == []
                answer = self.server.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The language and the text of each fenced block of a page."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", "").splitlines() if not line.startswith(ELSEWHERE)]


def shape(line: str) -> str:
    """A line without its numbers, which differ between machines, and without the widths of columns."""
    return re.sub(r"([ ─━])\1+", r"\1", NUMBER.sub("#", line)).strip()


def require_shown(shown: str, printed: str) -> None:
    """Fail unless each shown line was printed, in order; `…` stands for any text, or on its own for other lines."""
    rest = iter([shape(line) for line in printed.splitlines()])
    for line in shown.splitlines():
        pattern = shape(line).replace("[", "[[]").replace("…", "*")
        if pattern != "*":
            assert any(fnmatchcase(other, pattern) for other in rest), f"not printed: {line}\nprinted:\n{printed}"


@COMMANDS
def test_commands_of_a_page_run_and_print_what_it_shows(page, tmp_path):
    walk = Walk(tmp_path)
    with walk.servers:
        printed = ""
        for language, block in blocks(page):
            name = re.match(r"# (\w+\.py)\n", block)
            if language == "python" and name:
                (tmp_path / name[1]).write_text(block)
            elif language == "bash":
                printed = "\n".join(walk.run(command) for command in commands(block))
            elif language == "text":
                require_shown(block, printed)
    require_ignored([path for path in tmp_path.iterdir() if path.name != "scripts"])


def require_ignored(left: list[Path]) -> None:
    """Fail unless git ignores what a page would leave in the repository's root."""
    if left and (REPOSITORY / ".git").exists():
        names = [f"{path.name}/" if path.is_dir() else path.name for path in left]
        done = subprocess.run(["git", "check-ignore", *names], cwd=REPOSITORY, capture_output=True, text=True)
        assert set(done.stdout.splitlines()) == set(names)


def test_git_ignores_no_file_of_the_repository():
    if (REPOSITORY / ".git").exists():
        listed = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
        assert subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True).stdout == ""


def test_readme_shows_the_numbers_of_the_first_run(default_run):
    printed = [line.rstrip() for line in default_run[1].stdout.splitlines()]
    [shown] = [block for language, block in blocks(README) if language == "text"]
    assert shown.startswith("Epoch [10/100]")
    for line in shown.splitlines():
        if not line.startswith(("…", "Run:")):
            assert line.rstrip() in printed


def test_readme_is_short():
    assert len(README.read_text().split()) <= MAX_WORDS


@EVERY
def test_links_files_and_modules_on_a_page_exist(page):
    text = page.read_text()
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    for name in re.findall(r"(?<![\w/.])(?:project|scripts|tests|docs|\.github)/[\w./-]*\w", text):
        assert (REPOSITORY / name).exists(), name
    for name in re.findall(r"(?<![\w/.])project(?:\.\w+)+", text):
        pkgutil.resolve_name(name)


def test_every_page_is_in_the_index():
    index = (REPOSITORY / "docs/README.md").read_text()
    for page in PAGES[1:]:
        assert page.name == "README.md" or f"({page.name})" in index
