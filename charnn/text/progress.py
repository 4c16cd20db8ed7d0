"""How far long work has come, for somebody to show."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far work on a text has come.

    Args:
        what: is being done, such as "reading big.txt".
        unit: what is counted, "bytes" or "tokens".
        num_done, num_total: how many of them.
        seconds: since this work began.
    """

    task: str
    quantity: str
    num_done: int
    num_total: int
    seconds: float

    @property
    def rate(self) -> float:
        """How many were done a second."""
        return self.num_done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at this rate, if anything was done yet."""
        return (self.num_total - self.num_done) / self.rate if self.rate else None


Report = Callable[[Progress], None]


class Meter:
    """Counts what is done and reports it.

    Args:
        what, unit, num_total: see `Progress`.
        report: told at each step, and at the beginning; None for nobody.
    """

    def __init__(self, task: str, quantity: str, num_total: int, report: Report | None) -> None:
        self._task, self._quantity, self._num_total = task, quantity, num_total
        self._report = report
        self._num_done = 0
        self._started = time.monotonic()
        self.advance(0)

    def advance(self, number: int) -> None:
        """Count so many more."""
        self._num_done += number
        if self._report is not None:
            seconds = time.monotonic() - self._started
            self._report(Progress(self._task, self._quantity, self._num_done, self._num_total, seconds))
