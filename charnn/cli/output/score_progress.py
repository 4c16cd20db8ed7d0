"""The progress of scoring a long text: a bar on stderr, with the rate and the time left."""

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from charnn.cli.output import console

if TYPE_CHECKING:
    from charnn.scoring.scores import Score

SECONDS_BEFORE_SHOWN, SECONDS_BETWEEN = 1.0, 0.2


class Progress:
    """Shows a bar on a terminal once scoring has taken a second.

    Args:
        files: the inputs; the size of gzip files and standard input is unknown.
        shown: whether to show the bar.
    """

    def __init__(self, files: list[str], *, shown: bool) -> None:
        self._files = files
        self._is_shown = shown and console.has_notice_terminal()
        self._began = self._last_shown = time.monotonic()
        self._num_bytes = self._num_tokens = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, score: "Score") -> None:
        """Count one more unit."""
        if not self._is_shown:
            return
        self._num_bytes += len(score.text) if score.text.isascii() else len(score.text.encode("utf-8", "replace"))
        self._num_bytes += 1
        self._num_tokens += score.num_tokens
        now = time.monotonic()
        if now - self._began < SECONDS_BEFORE_SHOWN or now - self._last_shown < SECONDS_BETWEEN:
            return
        self._last_shown = now
        if self._bar is None:
            self._start()
        rate = f"{self._num_tokens / (now - self._began):,.0f} tokens/s"
        self._bar.update(self._task, completed=self._num_bytes, rate=rate)

    def _start(self) -> None:
        from rich import progress

        columns = (
            progress.TextColumn("scoring"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
        )
        self._bar = progress.Progress(*columns, console=console.error_console(), transient=True)
        self._task = self._bar.add_task("", total=self._total_bytes(), rate="")
        self._bar.start()

    def _total_bytes(self) -> int | None:
        paths = [Path(file) for file in self._files]
        if any(not path.is_file() or path.suffix == ".gz" for path in paths):
            return None
        return sum(path.stat().st_size for path in paths)
