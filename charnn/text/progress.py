"""Progress of long operations."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Progress of an operation on a text.

    Args:
        what: is being done, such as "reading big.txt".
        unit: what is counted, "bytes" or "tokens".
        num_done, num_total: completed and total number.
        seconds: time since the start.
    """

    task: str
    quantity: str
    num_done: int
    num_total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Completed number per second."""
        return self.num_done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining time; None before the first step."""
        return (self.num_total - self.num_done) / self.rate if self.rate else None


Report = Callable[[Progress], None]


class Meter:
    """Counts completed work and reports it.

    Args:
        what, unit, num_total: see `Progress`.
        report: called at the start and after each step; None for no reports.
    """

    def __init__(self, task: str, quantity: str, num_total: int, report: Report | None) -> None:
        self._task, self._quantity, self._num_total = task, quantity, num_total
        self._report = report
        self._num_done = 0
        self._started = time.monotonic()
        self.advance(0)

    def advance(self, number: int) -> None:
        """Add to the completed number."""
        self._num_done += number
        if self._report is not None:
            seconds = time.monotonic() - self._started
            self._report(Progress(self._task, self._quantity, self._num_done, self._num_total, seconds))
