import pytest

from project.runtime.errors import UserError
from project.training.train import train


@pytest.mark.parametrize("name", ["SLURM_NTASKS", "SLURM_PROCID"])
def test_a_variable_of_a_job_that_is_no_number_is_named(folder, monkeypatch, name):
    job = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "job"}
    for key, value in (job | {name: "x"}).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(UserError, match=f"{name}: must be an integer, got 'x'; unset it"):
        train(["--trainer.max_epochs", "1", "--trainer.devices", "1", "--trainer.accelerator", "cpu"])
