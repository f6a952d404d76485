from pathlib import Path

import pytest
from filelock import FileLock

from project.callbacks import LastCheckpoint, RunFolder
from project.runs.folder import LOCK, next_version
from project.runtime.errors import UserError
from tests.callbacks.fitting import fit

RUN = Path("lightning_logs/version_0")


def test_next_version_follows_the_highest(tmp_path):
    assert next_version(tmp_path / "none").name == "version_0"
    for name in ("version_0", "version_7", "version_x", "other"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path).name == "version_8"


def test_the_folder_has_the_configuration_and_the_rows_are_counted(folder):
    run = RunFolder("seed: 1")
    fit(run)
    assert run.path.resolve() == RUN.resolve()
    assert (RUN / "config.yaml").read_text() == "seed: 1"
    assert run.rows == 3 * 60
    assert 0 < run.seconds < 60


def test_a_fit_that_fails_without_a_checkpoint_leaves_no_folder(folder):
    class Fail(LastCheckpoint):
        def on_train_epoch_end(self, trainer, pl_module):
            raise KeyError("defect")

    with pytest.raises(KeyError):
        fit(RunFolder(""), Fail())
    assert not RUN.exists()


def test_a_folder_that_another_process_trains_in_is_refused(folder, monkeypatch):
    monkeypatch.setattr("project.callbacks.run_folder.next_version", lambda root: RUN)
    RUN.mkdir(parents=True)
    with FileLock(RUN / LOCK), pytest.raises(UserError, match="version_0: locked by another process"):
        fit(RunFolder(""))
    assert not (RUN / "config.yaml").exists()
