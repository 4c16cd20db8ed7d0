"""How the process holds memory while it trains."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""
_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_MAX = 128 * 1024, 65536
"""Their values when a process begins."""
_nested = 0


@contextlib.contextmanager
def memory_kept() -> Iterator[bool]:
    """Let the C library keep large blocks that are freed while the block runs; yields whether there was one to tell.

    Each step frees and allocates the same tens of megabytes. By default glibc returns them to the system and gets them back
    page by page, zeroed: a fifth to a quarter of a step at 64 streams. What is kept goes back to the system at the end of the
    outermost block.
    """
    global _nested
    _nested += 1
    try:
        yield _tell(mmap_max=0, trim_threshold=2**31 - 1)
    finally:
        _nested -= 1
        if not _nested and _tell(mmap_max=_USUAL_MMAP_MAX, trim_threshold=_USUAL_TRIM_THRESHOLD):
            ctypes.CDLL(None).malloc_trim(0)


def _tell(*, mmap_max: int, trim_threshold: int) -> bool:
    """Set glibc's parameters; return whether there is a glibc."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None or not hasattr(library, "malloc_trim"):  # another C library than glibc
        return False
    return bool(mallopt(_MMAP_MAX, mmap_max)) and bool(mallopt(_TRIM_THRESHOLD, trim_threshold))
