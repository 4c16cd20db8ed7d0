"""How this process was launched: alone, or as one of several ranks that train a network together (torchrun, Slurm)."""

import os
from typing import NamedTuple

_REQUIRED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_UNNAMED_JOBS = ("", "none")
"""Identifiers that torchrun gives to jobs without a name of their own."""


class Launch(NamedTuple):
    """The place of this process among the ranks of a job, from the environment variables that torchrun sets.

    Args:
        rank: number of this process, from 0.
        size: number of ranks.
        local_rank: number of this process on its machine.
        local_size: number of ranks that share the cores of this machine.
        restarts: how many times torchrun has restarted the job.
        job: identifies the job across its restarts.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    restarts: int
    job: str

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that leads the others."""
        return self.rank == 0

    @property
    def num_machines(self) -> int:
        """Number of machines, if each has as many ranks as this one."""
        return max(1, self.size // self.local_size)


def launch() -> Launch | None:
    """Return how this process was launched, or None if it runs alone."""
    if not all(os.environ.get(name) for name in _REQUIRED):
        return None
    by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return Launch(
        rank=_integer("RANK"),
        size=_integer("WORLD_SIZE", 1),
        local_rank=_integer("LOCAL_RANK"),
        local_size=_integer("LOCAL_WORLD_SIZE", 1)
        if by_torchrun
        else 1,  # Slurm gives each of its tasks cores of its own
        restarts=_integer("TORCHELASTIC_RESTART_COUNT"),
        job=f"{os.environ['MASTER_ADDR']} {os.getppid()}" if name in _UNNAMED_JOBS else name,
    )


def _integer(name: str, default: int = 0) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def is_follower() -> bool:
    """Return whether this process is a rank other than the first, which alone prints and writes."""
    place = launch()
    return place is not None and place.rank > 0
