"""Exclusive access to a directory. A separate module because `filelock` is slow to import."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from charnn.errors import StorageError
from charnn.files import explain_write_errors, make_directory


@contextlib.contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Lock a directory for this process while the block runs, with a lock file next to it.

    The operating system releases the lock of a process that was killed.

    Raises:
        StorageError: if another process holds the lock, or the lock file cannot be written.
    """
    file = target.with_name(f".{target.name}.charnn-lock")
    make_directory(file.parent)
    lock = FileLock(file)
    with explain_write_errors(file):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not file.exists():
                raise StorageError(
                    f"{target}: cannot be written: no lock file can be made beside it; choose another location"
                ) from None
            raise StorageError(
                f"{target}: another charnn is training here; wait for it, or name another directory with -o"
            ) from None
    try:
        yield
    finally:
        was_removed = _remove(file)  # before the release, so that the lock file of the next process is not removed
        lock.release()
        if not was_removed:
            _remove(file)


def _remove(file: Path) -> bool:
    """Remove a lock file; return False where the system does not remove open files (Windows)."""
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return False
    return True
