"""A comparison of the training speed with the one that was measured when the run was planned."""

from charnn.training.events import SpeedChanged
from charnn.training.optim.schedule import Budget

PROGRESS_AT_CHECK = 0.2
MIN_RATIO_REPORTED = 1.5
MIN_FRACTION_MEASURED = 0.05
"""The fraction of the time budget that steps must have taken for their speed to count."""


class SpeedCheck:
    """Compares the training speed with the planned one, once, for runs with a time budget.

    A difference needs no adjustment: learning rates and evaluations are functions of the fraction of time that is spent.

    Args:
        planned: tokens per second measured before training; None if not measured.
    """

    def __init__(self, planned: float | None) -> None:
        self._planned = planned
        self._seconds, self._num_tokens = 0.0, 0

    def add(self, seconds: float, num_tokens: int) -> None:
        """Add the duration and the number of targets of a step."""
        self._seconds, self._num_tokens = self._seconds + seconds, self._num_tokens + num_tokens

    def change(self, step: int, progress: float, budget: Budget) -> SpeedChanged | None:
        """Compare the speeds if it is time to; return an event if they differ by `MIN_RATIO_REPORTED` or more."""
        if not self._planned or budget.seconds is None or progress < PROGRESS_AT_CHECK:
            return None
        if self._seconds < MIN_FRACTION_MEASURED * budget.seconds:
            return None  # a resumed run that has not done enough steps to tell
        planned, self._planned = self._planned, None
        measured = self._num_tokens / self._seconds
        if 1 / MIN_RATIO_REPORTED < measured / planned < MIN_RATIO_REPORTED:
            return None
        return SpeedChanged(step, planned, measured)
