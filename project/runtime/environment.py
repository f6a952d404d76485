"""Checks of the environment variables that cluster jobs set."""

import os
import re
import sys

# For each variable that holds a rank: a process of a real job also has at least one of these variables.
JOBS = {
    "RANK": ("WORLD_SIZE",),
    "LOCAL_RANK": ("WORLD_SIZE",),
    "NODE_RANK": ("WORLD_SIZE", "MASTER_ADDR"),
    "SLURM_PROCID": ("SLURM_NTASKS",),
}

NUMBER = re.compile(r"SLURM_\w+|(LOCAL_|NODE_|GROUP_)?RANK|(LOCAL_)?WORLD_SIZE|MASTER_PORT")


def remove_stray_ranks() -> None:
    """Remove rank variables that were left over outside a job.

    A process that takes itself for rank 1 would wait for rank 0 or save nothing.
    """
    for name, job in JOBS.items():
        if name in os.environ and not any(other in os.environ for other in job):
            del os.environ[name]
            print(f"warning: ignored {name}, since no {' or '.join(job)} is set", file=sys.stderr)


def job_problem(error: BaseException) -> str | None:
    """Return a message about a job variable that is not an integer if it caused the exception, otherwise None."""
    for name, value in os.environ.items():
        if NUMBER.fullmatch(name) and str(error) == f"invalid literal for int() with base 10: {value!r}":
            return f"{name}: must be an integer, got {value!r}; unset it, or let srun or torchrun set it"
    return None
