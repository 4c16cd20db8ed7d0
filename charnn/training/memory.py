"""How the process holds memory while it trains."""

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library to keep large blocks that are freed; return whether there was one to tell.

    Each step frees and allocates the same tens of megabytes. By default glibc returns them to the system and gets them back
    page by page, zeroed: a fifth to a quarter of a step at 64 streams.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library than glibc
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
