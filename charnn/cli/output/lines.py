"""Lines of results, on stdout or in a file that is renamed to its final name when all are written."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import charnn
from charnn.cli.output import console
from charnn.interrupts import Interrupted, deferred_interrupts

STDOUT = ("-", "/dev/stdout")
CHARS_AT_ONCE = 1 << 20


class Lines:
    """Writes lines to stdout or to a file.

    Args:
        file: None for stdout; after an interrupt or an error, the lines written so far are kept under another name.
    """

    def __init__(self, file: str | None) -> None:
        self._file = charnn.api.LineFile(Path(file)) if file is not None and file not in STDOUT else None
        self.write = console.write_line if self._file is None else self._file.write_line
        self._write_part = console.write_part if self._file is None else self._file.write

    @property
    def is_file(self) -> bool:
        """Whether the lines go to a file."""
        return self._file is not None

    def write_parts(self, parts: Iterable[str]) -> None:
        """Write a line in parts; a short one at once. An interrupt is deferred until the line is complete."""
        with deferred_interrupts() as interruption:
            held, num_chars = [], 0
            for part in parts:
                held.append(part)
                num_chars += len(part)
                if num_chars >= CHARS_AT_ONCE:
                    self._write_part("".join(held))
                    held, num_chars = [], 0
            self.write("".join(held))
        if (number := interruption()) is not None:
            raise Interrupted(number)

    def __enter__(self) -> "Lines":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the file, or after an error keep the lines written so far."""
        if self._file is None:
            return
        if error is None:
            try:
                self._file.close()
            except BaseException:
                self._keep()
                raise
        else:
            self._keep()

    def _keep(self) -> None:
        assert self._file is not None
        kept = self._file.abandon()
        if kept is not None:
            state = "is unchanged" if self._file.path.exists() else "was not written"
            console.notice(f"{kept} has the lines written so far; {self._file.path} {state}")
