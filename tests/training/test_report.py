"""The report can be pasted into a shell."""

import shlex
from pathlib import Path

import pytest

from project.runtime.console import open_console
from project.runtime.signals import Stopped, stop_message
from project.training.report import print_run


@pytest.mark.parametrize("name", ["plain", "two words", "exp[final]", "[red]a[/red]", "it's $HOME; *", "long" * 40])
def test_printed_commands_can_be_pasted(folder, capsys, name):
    run = Path(name) / "lightning_logs" / "version_0"
    run.mkdir(parents=True)
    (run / "events.out").touch()
    print_run(open_console(), run, 1.0)
    printed = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert printed["Run"].split("  (")[0].strip() == str(run)
    assert shlex.split(printed["Evaluate"]) == ["python", "scripts/evaluate.py", str(run)]
    assert shlex.split(printed["TensorBoard"]) == ["tensorboard", "--logdir", str(run.parent)]
    assert shlex.split(stop_message(Stopped(15), 3, run))[-2:] == ["--ckpt_path", str(run)]
