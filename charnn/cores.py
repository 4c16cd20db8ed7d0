"""How many processor cores there are for this process."""

import os


def available_cores() -> int:
    """Return how many cores this process may use: those that it is bound to, where the system tells, otherwise all; no more
    than `OMP_NUM_THREADS` allows."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(allowed)) if allowed.isdecimal() and int(allowed) > 0 else cores
