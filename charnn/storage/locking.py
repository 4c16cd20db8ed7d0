"""One process at a time in a directory. It is a module of its own because `filelock` takes long to import."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from charnn.errors import StorageError
from charnn.files import explain_write_errors, make_directory


@contextlib.contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Keep a directory to this process while the block runs, with a lock file beside it.

    The operating system holds the lock, so that one of a process that was killed is no obstacle.

    Raises:
        StorageError: where another process has it, or the lock cannot be written.
    """
    file = target.with_name(f".{target.name}.charnn-lock")
    make_directory(file.parent)
    lock = FileLock(file)
    with explain_write_errors(file):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StorageError(
                f"{target}: another charnn is training here; wait for it, or name another place with -o"
            ) from None
    try:
        yield
    finally:
        was_removed = _remove(file)  # while the lock is held, lest it be that of the next process
        lock.release()
        if not was_removed:
            _remove(file)


def _remove(file: Path) -> bool:
    """Remove a lock file; return False where the system keeps open files, as Windows does."""
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return False
    return True
