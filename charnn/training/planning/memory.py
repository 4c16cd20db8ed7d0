"""How the process holds memory while it trains."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""
_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_MAX = 128 * 1024, 65536
"""Their values when a process begins."""
_VARIABLES = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)
"""By these a user sets them; then they stay as they are."""
_lock = threading.RLock()
"""Reentrant, since a generator that nobody wants any more may be closed at any moment, in a thread that holds it."""
_num_holders = 0


@contextlib.contextmanager
def memory_kept(*, trim: bool = True) -> Iterator[bool]:
    """Let the C library keep large blocks that are freed while the block runs; yields whether there was one to tell.

    Each step frees and allocates the same tens of megabytes. By default glibc returns them to the system and gets them back
    page by page, zeroed: a fifth to a quarter of a step at 64 streams. Several threads may be in such a block at once.

    Args:
        trim: whether what is kept goes back to the system at the end.
    """
    global _num_holders
    with _lock:
        _num_holders += 1
        has_told = _tell(mmap_max=0, trim_threshold=2**31 - 1)
    try:
        yield has_told
    finally:
        with _lock:
            _num_holders -= 1
            if not _num_holders and _tell(mmap_max=_USUAL_MMAP_MAX, trim_threshold=_USUAL_TRIM_THRESHOLD) and trim:
                ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def memory_returned() -> Iterator[None]:
    """Return what blocks of `memory_kept(trim=False)` kept to the system at the end."""
    try:
        yield
    finally:
        with memory_kept():
            pass


def _tell(*, mmap_max: int, trim_threshold: int) -> bool:
    """Set glibc's parameters; return whether there is a glibc."""
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _VARIABLES):
        return False
    library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None or not hasattr(library, "malloc_trim"):  # another C library than glibc
        return False
    return bool(mallopt(_MMAP_MAX, mmap_max)) and bool(mallopt(_TRIM_THRESHOLD, trim_threshold))
