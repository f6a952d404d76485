"""Environment variables that the jobs of a cluster leave behind."""

import os
import re
import sys

# What says that the process belongs to a job, by the variables that number its processes.
JOBS = {
    "RANK": ("WORLD_SIZE",),
    "LOCAL_RANK": ("WORLD_SIZE",),
    "NODE_RANK": ("WORLD_SIZE", "MASTER_ADDR"),
    "SLURM_PROCID": ("SLURM_NTASKS",),
}

NUMBER = re.compile(r"SLURM_\w+|(LOCAL_|NODE_|GROUP_)?RANK|(LOCAL_)?WORLD_SIZE|MASTER_PORT")


def forget_stray_ranks() -> None:
    """Remove the number of a process that belongs to no job: as number 1 it waits for number 0, or saves nothing."""
    for name, job in JOBS.items():
        if name in os.environ and not any(other in os.environ for other in job):
            del os.environ[name]
            print(f"warning: ignored {name}, since no {' or '.join(job)} is set", file=sys.stderr)


def job_problem(error: BaseException) -> str | None:
    """Return which variable of a job is no number, if that is why a library has raised an exception."""
    for name, value in os.environ.items():
        if NUMBER.fullmatch(name) and str(error) == f"invalid literal for int() with base 10: {value!r}":
            return f"{name}: must be an integer, got {value!r}; unset it, or let srun or torchrun set it"
    return None
