"""Standard output and standard error, which may be full, closed, or a pipe that nobody reads any more.

A failure to write results ends the command; one to write notices does not. After a failure, what remains in the buffer of the
stream is discarded, so that the interpreter does not fail on it a second time at its end.
"""

import contextlib
import errno
import io
import os
import signal
from typing import Any, TextIO

import charnn
from charnn.errors import StorageError

STANDARD_OUTPUT = "standard output"
READER_GONE = 128 + int(getattr(signal, "SIGPIPE", 13))
"""Exit status if the reader of the results (`head`) has closed its end of the pipe, as that of other programs."""


class _Stream:
    """A text stream whose failures are handled by `_failed`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """Write what is in the buffer."""
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError


class ResultStream(_Stream):
    """Standard output: raises StorageError if it cannot be written, and SystemExit, with no message, if nobody reads it."""

    def _failed(self, error: OSError) -> None:
        _discard(self._stream)
        if error.errno == errno.EPIPE:
            raise SystemExit(READER_GONE) from error
        with charnn.api.explain_write_errors(STANDARD_OUTPUT):
            raise error


class NoticeStream(_Stream):
    """Standard error: failures are ignored, as are a closed terminal and a full disk under a log file."""

    def _failed(self, error: OSError) -> None:  # noqa: ARG002
        _discard(self._stream)


def _discard(stream: TextIO) -> None:
    """Redirect a stream to nothing. One that is no file of the system is left alone."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = stream.fileno()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)


class ClosedOutput(io.TextIOBase):
    """Takes the place of a standard output that was closed before the program started."""

    def write(self, text: str) -> int:  # noqa: ARG002
        """Raise StorageError."""
        raise StorageError(f"{STANDARD_OUTPUT}: is closed; open it, or redirect it to a file")
