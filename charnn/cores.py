"""The number of processor cores that this process may use."""

import os


def available_cores() -> int:
    """Return the number of cores that this process may use: those of its affinity mask if the system has one, otherwise all,
    and at most `OMP_NUM_THREADS`."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(allowed)) if allowed.isdecimal() and int(allowed) > 0 else cores
