"""Budget, learning rate and teacher forcing probability, all functions of the progress from 0 to 1."""

import math
from dataclasses import dataclass

from charnn.config import TrainingOptions
from charnn.config.training import ForcingSchedule, ScheduleName

WARMUP, FINAL_RATE = 0.02, 0.01
ONE_CYCLE_WARMUP, ONE_CYCLE_FINAL_RATE, ONE_CYCLE_FIRST_RATE = 0.3, 1e-4, 1 / 25
ONE_CYCLE_MOMENTUM = (0.95, 0.85)
"""Momentum at the lowest learning rates and at the peak (Smith 2018)."""


SECONDS_TO_SAVE = 1.5
"""Reserved at the end of a time budget for saving the model."""
FINAL_PASSES = 3
"""The duration of the final metrics, in evaluations of the text on which they are measured."""


def seconds_to_end(evaluation_seconds: float, final_size: float = 1.0, sample_seconds: float = 0.0) -> float:
    """Return the seconds from the last step to the end of a run: the last evaluation, the final metrics and saving.

    Args:
        evaluation_seconds: duration of an evaluation.
        final_size: tokens on which the final metrics are measured, as a multiple of those of an evaluation.
        sample_seconds: duration of the sample that is drawn at an evaluation.
    """
    return SECONDS_TO_SAVE + sample_seconds + (1 + FINAL_PASSES * final_size) * evaluation_seconds


def seconds_for_steps(
    minutes: float, evaluation_seconds: float, final_size: float = 1.0, sample_seconds: float = 0.0
) -> float:
    """Return the seconds of a time budget after which no step is started, so that the run ends in time.

    Args:
        minutes: the time budget.
        evaluation_seconds, final_size, sample_seconds: see `seconds_to_end`.
    """
    return max(minutes * 60 - seconds_to_end(evaluation_seconds, final_size, sample_seconds), minutes * 30)


@dataclass(frozen=True)
class Budget:
    """The budget of training in steps, seconds or both, of which the first to be spent counts."""

    steps: int | None
    seconds: float | None

    def progress(self, steps: int, seconds: float) -> float:
        """Return the larger of the two spent fractions, at most 1."""
        fractions = [0.0]
        if self.steps is not None:
            fractions.append(steps / self.steps)
        if self.seconds is not None:
            fractions.append(seconds / self.seconds if self.seconds > 0 else 1.0)
        return min(1.0, max(fractions))


@dataclass(frozen=True)
class Schedule:
    """The learning rate schedule.

    Args:
        name: the shape of the decay: linear (better than cosine in Defazio et al. 2023, and here), cosine, exponential,
            one-cycle (Smith 2018), or none (constant; plateau, where the trainer lowers the learning rate).
        warmup: fraction of the budget in which the learning rate rises.
        hold: fraction of the budget after which it decays, if later than the warmup.
        final_rate: final learning rate, as a fraction of the peak.
    """

    name: ScheduleName = "linear"
    warmup: float = WARMUP
    hold: float = 0.0
    final_rate: float = FINAL_RATE

    @classmethod
    def of(cls, options: TrainingOptions) -> "Schedule":
        """Return the schedule of options, with defaults for those left open."""
        name: ScheduleName = options.schedule or ("constant" if options.optimizer == "nt-asgd" else "linear")
        is_cycle = name == "one-cycle"
        warmup = (ONE_CYCLE_WARMUP if is_cycle else WARMUP) if options.warmup is None else options.warmup
        final = (ONE_CYCLE_FINAL_RATE if is_cycle else FINAL_RATE) if options.final_rate is None else options.final_rate
        return cls(name, warmup, options.hold, final)

    def rate_factor(self, progress: float) -> float:
        """Return the learning rate as a fraction of the peak."""
        if progress < self.warmup:
            return self._rise(progress / self.warmup)
        fall_start = max(self.warmup, self.hold)
        return self._fall(max(0.0, progress - fall_start) / (1 - fall_start))

    def _rise(self, fraction: float) -> float:
        if self.name == "one-cycle":
            return _along_cosine(ONE_CYCLE_FIRST_RATE, 1.0, fraction)
        return max(fraction, FINAL_RATE)

    def _fall(self, fraction: float) -> float:
        if self.name in ("constant", "plateau"):
            return 1.0
        if self.name == "exponential":
            return float(self.final_rate**fraction)
        if self.name == "linear":
            return 1 + (self.final_rate - 1) * fraction
        return _along_cosine(1.0, self.final_rate, fraction)

    def momentum(self, progress: float) -> float | None:
        """Return the momentum, which falls as the learning rate rises; None if the schedule does not change it."""
        if self.name != "one-cycle":
            return None
        highest, lowest = ONE_CYCLE_MOMENTUM
        if progress < self.warmup:
            return _along_cosine(highest, lowest, progress / self.warmup)
        return _along_cosine(lowest, highest, (progress - self.warmup) / (1 - self.warmup))


def _along_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


INVERSE_SIGMOID_STEEPNESS = 10.0


def teacher_forcing_probability_at(progress: float, *, final: float, descent: ForcingSchedule) -> float:
    """Return the probability that an input is the reference token, which falls from 1 to `final`.

    Args:
        progress: from 0 to 1.
        final: the probability at progress 1.
        descent: linear, exponential or inverse-sigmoid.

    Source: Bengio et al. (2015), Scheduled sampling for sequence prediction with recurrent neural networks.
    """
    if descent == "linear" or final == 1:
        return 1 + (final - 1) * progress
    if descent == "exponential":
        return float(final**progress)
    low, here, high = (1 / (1 + math.exp(INVERSE_SIGMOID_STEEPNESS * (x - 0.5))) for x in (1.0, progress, 0.0))
    return final + (1 - final) * (here - low) / (high - low)
