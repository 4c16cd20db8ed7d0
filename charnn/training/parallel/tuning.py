"""How many workers are fastest now: measured as training goes on, since a machine is idle at one moment and busy at the next.

The weights do not depend on the number, so it may change after every step.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable

from charnn.training.parallel.workers import Workers

SECONDS_BETWEEN = 30.0
ROUNDS = 3
"""Steps that each number of workers does in a trial; the median counts, so that one step that was held up decides nothing."""
MOST_OF_THE_TIME = 0.05
"""A trial that takes longer is made so much more rarely that trials take no more than this part of the time."""
RECENT_STEPS, CHANGE = 9, 1.5
"""A trial comes early where the median of so many steps takes this much longer or shorter than when the number was chosen."""
MOST_OF_THE_TIME_EARLY = 0.2
"""Early trials, too, are so far apart that they take no more than this part of the time: steps that differ in length for good
(units of a line and of a page) would ask for one trial after another."""
ADVANTAGE = 1.03
"""By how much another number must be faster to be taken."""


class WorkerTuner:
    """Sets the number of active workers to the fastest one.

    Args:
        workers: whose number is set.
        clock: seconds from any moment on.
    """

    def __init__(self, workers: Workers, clock: Callable[[], float] = time.perf_counter) -> None:
        self._workers, self._clock = workers, clock
        self._candidates = sorted({2**power for power in range(8) if 2**power < workers.most} | {workers.most})
        self._trial: list[int] = []
        self._trial_seconds = 0.0
        self._times: dict[int, list[float]] = {}
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        self._usual: float | None = None
        self._begun = clock()
        self._next_trial = self._begun + SECONDS_BETWEEN
        self._next_early_trial = self._begun

    def note(self, seconds: float, num_tokens: int) -> None:
        """Take in how long a step took; the number of workers of the next one may differ.

        Args:
            num_tokens: that it read.
        """
        if len(self._candidates) < 2 or not num_tokens:
            return
        a_token = seconds / num_tokens
        if self._trial:
            self._note_trial(seconds, a_token)
            return
        self._recent.append(a_token)
        if len(self._recent) < RECENT_STEPS:
            return
        if self._usual is None:
            self._usual = statistics.median(self._recent)
            self._next_trial = min(self._next_trial, self._begun + self._trial_cost(seconds) / MOST_OF_THE_TIME)
        change = statistics.median(self._recent) / self._usual
        has_changed = not 1 / CHANGE < change < CHANGE
        if self._clock() >= (self._next_early_trial if has_changed else self._next_trial):
            self._begin_trial()

    def _trial_cost(self, step_seconds: float) -> float:
        """Return about how long a trial takes, where fewer workers take as much longer as they are fewer."""
        return ROUNDS * step_seconds * sum(self._workers.most / number for number in self._candidates)

    def _begin_trial(self) -> None:
        self._times = {number: [] for number in self._candidates}
        self._trial = self._candidates * ROUNDS
        self._trial_seconds = 0.0
        self._before = self._workers.num_active
        self._workers.num_active = self._trial[0]

    def _note_trial(self, seconds: float, a_token: float) -> None:
        self._times[self._trial.pop(0)].append(a_token)
        self._trial_seconds += seconds
        if self._trial:
            self._workers.num_active = self._trial[0]
            return
        medians = {number: statistics.median(times) for number, times in self._times.items()}
        fastest = min(medians, key=medians.__getitem__)
        is_better = medians[fastest] * ADVANTAGE < medians[self._before]
        self._workers.num_active = fastest if is_better else self._before
        self._usual = medians[self._workers.num_active]
        self._recent.clear()
        now = self._clock()
        self._next_trial = now + max(SECONDS_BETWEEN, self._trial_seconds / MOST_OF_THE_TIME)
        self._next_early_trial = now + self._trial_seconds / MOST_OF_THE_TIME_EARLY
