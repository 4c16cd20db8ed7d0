"""Lines of results, on stdout or in a file that takes its place when all are written."""

from pathlib import Path
from types import TracebackType

import charnn
from charnn.cli.output import console

STDOUT = ("-", "/dev/stdout")


class Lines:
    """Where lines go.

    Args:
        file: in place of stdout; what an interrupt or an error leaves of it keeps its whole lines under a name of its own.
    """

    def __init__(self, file: str | None) -> None:
        self._file = charnn.api.LineFile(Path(file)) if file is not None and file not in STDOUT else None
        self.write = console.write_line if self._file is None else self._file.write_line

    @property
    def is_file(self) -> bool:
        """Whether the lines go to a file."""
        return self._file is not None

    def __enter__(self) -> "Lines":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the file in its place, or keep what there is of it."""
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
            state = "is as it was" if self._file.path.exists() else "was not written"
            console.notice(f"{kept} has the lines so far; {self._file.path} {state}")
