"""The progress of reading a text: one line that is rewritten on a terminal, occasional lines elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from charnn.cli.output import console

if TYPE_CHECKING:
    from charnn.text.progress import Progress

SECONDS_BEFORE_SHOWN = 1.0
SECONDS_BETWEEN, SECONDS_BETWEEN_LINES = 0.2, 10.0


class ProgressLine:
    """Shows progress after the first second of a task, and clears the line when it is done."""

    def __init__(self) -> None:
        self._is_rewritten = console.has_notice_terminal()
        self._last_shown: float | None = None

    def __enter__(self) -> "ProgressLine":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clear the line."""
        console.clear_notice_in_place()

    def show(self, progress: "Progress") -> None:
        """Show the progress, if enough time has passed since the last call."""
        if progress.num_done >= progress.num_total:
            console.clear_notice_in_place()
            return
        if progress.seconds < SECONDS_BEFORE_SHOWN:
            return
        now = time.monotonic()
        between = SECONDS_BETWEEN if self._is_rewritten else SECONDS_BETWEEN_LINES
        if self._last_shown is not None and now - self._last_shown < between:
            return
        self._last_shown = now
        if self._is_rewritten:
            console.notice_in_place(in_words(progress))
        else:
            console.notice(in_words(progress))


def in_words(progress: "Progress") -> str:
    """Return a line such as "reading big.txt: 31 %, 8.4 MB/s, 9 s left"."""
    percent = 100 * progress.num_done // max(1, progress.num_total)
    rate = (
        f"{progress.rate / 1e6:.1f} MB/s"
        if progress.quantity == "bytes"
        else f"{progress.rate:,.0f} {progress.quantity}/s"
    )
    left = progress.seconds_left
    ending = "" if left is None else f", {_duration(left)} left"
    return f"{progress.task}: {percent} %, {rate}{ending}"


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
