"""Environment variables that the jobs of a cluster leave behind."""

import os
import sys

# What says that the process belongs to a job, by the variables that number its processes.
JOBS = {
    "RANK": ("WORLD_SIZE",),
    "LOCAL_RANK": ("WORLD_SIZE",),
    "NODE_RANK": ("WORLD_SIZE", "MASTER_ADDR"),
    "SLURM_PROCID": ("SLURM_NTASKS",),
}


def forget_stray_ranks() -> None:
    """Remove the number of a process that belongs to no job: as number 1 it waits for number 0, or saves nothing."""
    for name, job in JOBS.items():
        if name in os.environ and not any(other in os.environ for other in job):
            del os.environ[name]
            print(f"warning: ignored {name}, since no {' or '.join(job)} is set", file=sys.stderr)
