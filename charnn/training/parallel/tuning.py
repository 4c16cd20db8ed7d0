"""The fastest number of workers, measured repeatedly during training, since the load of a machine changes.

The weights do not depend on the number of workers, so it may change after every step.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable

from charnn.training.parallel.workers import Workers

SECONDS_BETWEEN_COMPARISONS = 30.0
STEPS_PER_CANDIDATE = 3
"""Steps that each candidate runs in a comparison; their median is compared, so that one delayed step has no effect."""
MAX_TIME_FRACTION = 0.05
"""Maximum fraction of the time spent on comparisons; the longer they take, the rarer they are."""
RECENT_STEPS, MIN_CHANGE = 9, 1.5
"""A comparison comes early if the median time per token over this many steps has changed by this factor since the last one."""
MAX_TIME_FRACTION_EARLY = 0.2
"""Maximum fraction of the time spent on early comparisons: steps whose lengths always differ (units of a line and of a page)
would otherwise trigger one after another."""
MIN_SPEEDUP = 1.03
"""Minimum speedup for which the number of workers is changed."""


class WorkerTuner:
    """Sets the number of active workers to the fastest one.

    Args:
        workers: whose number is set.
        clock: returns seconds since an arbitrary time.
    """

    def __init__(self, workers: Workers, clock: Callable[[], float] = time.perf_counter) -> None:
        self._workers, self._clock = workers, clock
        most = workers.max_workers
        self._candidates = sorted({2**power for power in range(8) if 2**power < most} | {most})
        self._queue: list[int] = []
        self._comparison_seconds = 0.0
        self._times: dict[int, list[float]] = {}
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        self._baseline: float | None = None
        self._started = clock()
        self._next_comparison = self._started + SECONDS_BETWEEN_COMPARISONS
        self._next_early_comparison = self._started

    def note(self, seconds: float, num_tokens: int) -> None:
        """Record a step; this may change the number of workers for the next one.

        Args:
            seconds: that the step took.
            num_tokens: number of its targets.
        """
        if len(self._candidates) < 2 or not num_tokens:
            return
        seconds_per_token = seconds / num_tokens
        if self._queue:
            self._note_comparison(seconds, seconds_per_token)
            return
        self._recent.append(seconds_per_token)
        if len(self._recent) < RECENT_STEPS:
            return
        if self._baseline is None:
            self._baseline = statistics.median(self._recent)
            self._next_comparison = min(
                self._next_comparison, self._started + self._comparison_cost(seconds) / MAX_TIME_FRACTION
            )
        change = statistics.median(self._recent) / self._baseline
        has_changed = not 1 / MIN_CHANGE < change < MIN_CHANGE
        if self._clock() >= (self._next_early_comparison if has_changed else self._next_comparison):
            self._start_comparison()

    def _comparison_cost(self, step_seconds: float) -> float:
        """Estimate the seconds of a comparison, in which the time of a step is inversely proportional to the workers."""
        slowdowns = [self._workers.max_workers / num_workers for num_workers in self._candidates]
        return STEPS_PER_CANDIDATE * step_seconds * sum(slowdowns)

    def _start_comparison(self) -> None:
        self._times = {num_workers: [] for num_workers in self._candidates}
        self._queue = self._candidates * STEPS_PER_CANDIDATE
        self._comparison_seconds = 0.0
        self._before = self._workers.num_active
        self._workers.num_active = self._queue[0]

    def _note_comparison(self, seconds: float, seconds_per_token: float) -> None:
        self._times[self._queue.pop(0)].append(seconds_per_token)
        self._comparison_seconds += seconds
        if self._queue:
            self._workers.num_active = self._queue[0]
            return
        medians = {num_workers: statistics.median(times) for num_workers, times in self._times.items()}
        fastest = min(medians, key=medians.__getitem__)
        is_better = medians[fastest] * MIN_SPEEDUP < medians[self._before]
        self._workers.num_active = fastest if is_better else self._before
        self._baseline = medians[self._workers.num_active]
        self._recent.clear()
        now = self._clock()
        self._next_comparison = now + max(SECONDS_BETWEEN_COMPARISONS, self._comparison_seconds / MAX_TIME_FRACTION)
        self._next_early_comparison = now + self._comparison_seconds / MAX_TIME_FRACTION_EARLY
