"""Settings of the C library's memory allocator during training."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""
_DEFAULT_TRIM_THRESHOLD, _DEFAULT_MMAP_MAX = 128 * 1024, 65536
"""Their default values."""
_VARIABLES = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)
"""Environment variables by which a user sets them; if one is set, nothing is changed."""
_lock = threading.RLock()
"""Reentrant, since garbage collection may close a generator at any moment, in a thread that holds the lock."""
_num_holders = 0


@contextlib.contextmanager
def memory_kept(*, trim: bool = True) -> Iterator[bool]:
    """Keep freed memory in the process within a `with` block; yields whether the C library supports it.

    Each step frees and allocates the same tens of megabytes. By default glibc returns them to the system and gets them back
    page by page, zeroed, which takes a fifth to a quarter of a step at 64 streams. Several threads may use it concurrently.

    Args:
        trim: return free memory to the system at the end.
    """
    global _num_holders
    with _lock:
        _num_holders += 1
        is_configured = _configure_malloc(mmap_max=0, trim_threshold=2**31 - 1)
    try:
        yield is_configured
    finally:
        with _lock:
            _num_holders -= 1
            defaults = {"mmap_max": _DEFAULT_MMAP_MAX, "trim_threshold": _DEFAULT_TRIM_THRESHOLD}
            if not _num_holders and _configure_malloc(**defaults) and trim:
                ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def memory_returned() -> Iterator[None]:
    """Return to the system at the end what `memory_kept(trim=False)` kept within a `with` block."""
    try:
        yield
    finally:
        with memory_kept():
            pass


def return_free_memory() -> None:
    """Return to the system what is free now: training takes the most, and what follows it other memory."""
    if sys.platform.startswith("linux") and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _configure_malloc(*, mmap_max: int, trim_threshold: int) -> bool:
    """Set parameters of glibc's allocator; return whether it is glibc and they could be set."""
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _VARIABLES):
        return False
    library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None or not hasattr(library, "malloc_trim"):  # another C library than glibc
        return False
    return bool(mallopt(_MMAP_MAX, mmap_max)) and bool(mallopt(_TRIM_THRESHOLD, trim_threshold))
