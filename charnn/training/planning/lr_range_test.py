"""The learning rate range test: steps at increasing learning rates.

Source: Smith (2017), Cyclical learning rates for training neural networks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from charnn.errors import TrainingError
from charnn.training.trainer import Trainer

MIN_LEARNING_RATE, MAX_LEARNING_RATE = 1e-5, 10.0
NUM_STEPS = 150
SMOOTHING = 0.9
"""The weight of earlier steps in the exponential moving average of the loss."""
DIVERGENCE_NATS = 1.0
"""Nats per token above the lowest smoothed loss at which the test ends."""
MIN_POINTS = 10
ADAPTIVE_MARGIN = 8.0
"""For optimizers whose updates are normalized, the factor between the learning rate of the lowest loss and the proposed one:
what works for 150 steps is too high for a long run. For SGD the learning rate of the lowest loss was not too high."""


@dataclass(frozen=True)
class Trial:
    """A step of the range test.

    Args:
        rate: learning rate of the step.
        loss_nats: loss per token of its batch, before the update.
        smoothed_nats: exponential moving average of the losses so far.
    """

    rate: float
    loss_nats: float
    smoothed_nats: float


def range_test(trainer: Trainer) -> Iterator[Trial]:
    """Train at learning rates that increase by a constant factor, until the loss diverges.

    Args:
        trainer: at the start of a run; its network is useless afterwards.

    Yields:
        A trial for each step.
    """
    mean, lowest = 0.0, math.inf
    for index in range(NUM_STEPS):
        rate = MIN_LEARNING_RATE * (MAX_LEARNING_RATE / MIN_LEARNING_RATE) ** (index / (NUM_STEPS - 1))
        result = trainer.learn(rate)
        loss = float(result.loss) / result.num_targets
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING ** (index + 1))
        if not math.isfinite(loss) or smoothed > lowest + DIVERGENCE_NATS:
            return
        lowest = min(lowest, smoothed)
        yield Trial(rate, loss, smoothed)


def proposal(trials: list[Trial], optimizer: str) -> float:
    """Return the learning rate that a range test suggests.

    Args:
        trials: of the test.
        optimizer: name of the optimizer.

    Raises:
        TrainingError: if the loss diverged in the first steps.
    """
    if len(trials) < MIN_POINTS:
        raise TrainingError(
            f"--find-lr: the loss is not finite or rises from the first steps on (after {len(trials)} of them, at rates around "
            f"{MIN_LEARNING_RATE:g}); use --clip-norm, or another --init-recurrent"
        )
    rate = min(trials, key=lambda trial: trial.smoothed_nats).rate
    return rate / ADAPTIVE_MARGIN if optimizer in ("muon", "adamw") else rate
