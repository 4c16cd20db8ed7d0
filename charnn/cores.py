"""The number of processor cores that this process may use."""

import os

from charnn.launch import launch


def available_cores() -> int:
    """Return the number of cores that this process may use: those of its affinity mask if the system has one, otherwise all,
    and at most `OMP_NUM_THREADS`, unless that is the 1 that torchrun sets for several ranks on one machine."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    place = launch()
    if not allowed.isdecimal() or int(allowed) == 0 or (allowed == "1" and place and place.local_size > 1):
        return cores
    return min(cores, int(allowed))
