"""Budget, learning rate and share of true inputs, all functions of progress from 0 to 1."""

import math
from dataclasses import dataclass

from charnn.config import TrainingOptions
from charnn.config.training import ForcingSchedule, ScheduleName

WARMUP, FINAL_RATE = 0.02, 0.01
ONE_CYCLE_WARMUP, ONE_CYCLE_FINAL_RATE, ONE_CYCLE_FIRST_RATE = 0.3, 1e-4, 1 / 25
ONE_CYCLE_MOMENTUM = (0.95, 0.85)
"""At the lowest rates and at the peak (Smith 2018)."""


SECONDS_TO_SAVE = 1.5
"""Kept back at the end of a time budget for writing the model and leaving."""
EVALUATIONS_AT_THE_END = 4
"""Readings of the held-out text that the last evaluation and the final metrics take."""


def seconds_to_end(evaluation_seconds: float) -> float:
    """Return what the end of a run takes after its last step.

    Args:
        evaluation_seconds: that a reading of the held-out text takes.
    """
    return SECONDS_TO_SAVE + EVALUATIONS_AT_THE_END * evaluation_seconds


def seconds_for_steps(minutes: float, evaluation_seconds: float) -> float:
    """Return the part of a time budget after which no step is begun, so that all is over when the time is."""
    return max(minutes * 60 - seconds_to_end(evaluation_seconds), minutes * 30)


@dataclass(frozen=True)
class Budget:
    """What training may spend: steps, seconds, or whichever is used up first."""

    steps: int | None
    seconds: float | None

    def progress(self, steps: int, seconds: float) -> float:
        """Return the larger of the two shares that are spent, at most 1."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(steps / self.steps)
        if self.seconds is not None:
            shares.append(seconds / self.seconds if self.seconds > 0 else 1.0)
        return min(1.0, max(shares))


@dataclass(frozen=True)
class Schedule:
    """How the learning rate rises and falls.

    Args:
        name: the shape of the fall. Straight (Defazio et al. 2023 find that it beats a cosine, and so it does here), along a
            cosine, by a constant factor, along a cosine after as long a rise (one-cycle, Smith 2018), or none of its own
            (constant; plateau, where the trainer lowers the rate).
        warmup: the share of the budget in which the rate rises.
        hold: the share after which it falls, where that is later.
        final_rate: the share of the peak that it falls to.
    """

    name: ScheduleName = "linear"
    warmup: float = WARMUP
    hold: float = 0.0
    final_rate: float = FINAL_RATE

    @classmethod
    def of(cls, options: TrainingOptions) -> "Schedule":
        """Return the schedule that options ask for, with what they leave open."""
        name: ScheduleName = options.schedule or ("constant" if options.optimizer == "nt-asgd" else "linear")
        is_cycle = name == "one-cycle"
        warmup = (ONE_CYCLE_WARMUP if is_cycle else WARMUP) if options.warmup is None else options.warmup
        final = (ONE_CYCLE_FINAL_RATE if is_cycle else FINAL_RATE) if options.final_rate is None else options.final_rate
        return cls(name, warmup, options.hold, final)

    def rate_factor(self, progress: float) -> float:
        """Return the share of the peak learning rate."""
        if progress < self.warmup:
            return self._rise(progress / self.warmup)
        begin = max(self.warmup, self.hold)
        return self._fall(max(0.0, progress - begin) / (1 - begin))

    def _rise(self, share: float) -> float:
        if self.name == "one-cycle":
            return _along_cosine(ONE_CYCLE_FIRST_RATE, 1.0, share)
        return max(share, FINAL_RATE)

    def _fall(self, share: float) -> float:
        if self.name in ("constant", "plateau"):
            return 1.0
        if self.name == "exponential":
            return float(self.final_rate**share)
        if self.name == "linear":
            return 1 + (self.final_rate - 1) * share
        return _along_cosine(1.0, self.final_rate, share)

    def momentum(self, progress: float) -> float | None:
        """Return the momentum that goes with the rate, falling where it rises; None where it is left alone."""
        if self.name != "one-cycle":
            return None
        most, least = ONE_CYCLE_MOMENTUM
        if progress < self.warmup:
            return _along_cosine(most, least, progress / self.warmup)
        return _along_cosine(least, most, (progress - self.warmup) / (1 - self.warmup))


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


INVERSE_SIGMOID_STEEPNESS = 10.0


def teacher_forcing_probability_at(progress: float, *, last: float, descent: ForcingSchedule) -> float:
    """Return the share of inputs that are true ones: 1 at the beginning, `last` at the end.

    Args:
        descent: in a straight line; by a constant factor; or slowly, then fast, then slowly, as an inverse sigmoid.

    Source: Bengio et al. (2015), Scheduled sampling for sequence prediction with recurrent neural networks.
    """
    if descent == "linear" or last == 1:
        return 1 + (last - 1) * progress
    if descent == "exponential":
        return float(last**progress)
    low, here, high = (1 / (1 + math.exp(INVERSE_SIGMOID_STEEPNESS * (x - 0.5))) for x in (1.0, progress, 0.0))
    return last + (1 - last) * (here - low) / (high - low)
