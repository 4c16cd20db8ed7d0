"""Which learning rates a network learns at: a few steps each at ever higher ones.

Source: Smith (2017), Cyclical learning rates for training neural networks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from charnn.errors import TrainingError
from charnn.training.trainer import Trainer

LOWEST, HIGHEST = 1e-5, 10.0
NUM_STEPS = 150
MEMORY = 0.9
"""The share of the smoothed loss that is left of earlier steps."""
DIVERGED = 1.0
"""Nats a token above the lowest loss at which the test ends."""
FEWEST_POINTS = 10
MARGIN_OF_ADAPTIVE = 8.0
"""How many times below the rate of the lowest loss one is proposed where moves are as long as the rate says: what suits 150
rising steps is too much for a long run. Moves of SGD are as long as the gradient is, and the rate of the lowest loss itself
was not too much."""


@dataclass(frozen=True)
class Trial:
    """A step of the test.

    Args:
        rate: its learning rate.
        loss_nats: its batch's loss a token, before the step.
        smoothed_nats: the same, with what is left of those before it.
    """

    rate: float
    loss_nats: float
    smoothed_nats: float


def range_test(trainer: Trainer) -> Iterator[Trial]:
    """Do steps at rates that rise by a constant factor, until the loss has left its lowest point for good.

    Yields:
        What each step found. The network is of no use afterwards.
    """
    mean, lowest = 0.0, math.inf
    for number in range(NUM_STEPS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / (NUM_STEPS - 1))
        result = trainer.learn(rate)
        loss = float(result.loss) / result.num_targets
        mean = MEMORY * mean + (1 - MEMORY) * loss
        smoothed = mean / (1 - MEMORY ** (number + 1))
        if not math.isfinite(loss) or smoothed > lowest + DIVERGED:
            return
        lowest = min(lowest, smoothed)
        yield Trial(rate, loss, smoothed)


def proposal(trials: list[Trial], optimizer: str) -> float:
    """Return a learning rate to begin with.

    Args:
        trials: what the test found.
        optimizer: its name.

    Raises:
        TrainingError: where the loss left its lowest point at once.
    """
    if len(trials) < FEWEST_POINTS:
        raise TrainingError(
            f"--find-lr: the loss is not finite or rises from the first steps on (after {len(trials)} of them, at rates around "
            f"{LOWEST:g}); use --clip-norm, or another --init-recurrent"
        )
    rate = min(trials, key=lambda trial: trial.smoothed_nats).rate
    return rate / MARGIN_OF_ADAPTIVE if optimizer in ("muon", "adamw") else rate
