"""Averaged weights: less noisy than those of the last step, and what is evaluated and saved.

`torch.optim.swa_utils.AveragedModel` computes the same averages, bit for bit, but in one call that workers cannot divide, and
it keeps a second network, whose weights have other names than a checkpoint's.
"""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from charnn.storage.checkpoint import Tensors
from charnn.training.network.network import Network
from charnn.training.optim.optimizers import pieces
from charnn.training.parallel.workers import Task

EVERY = 8
"""Steps between two additions to the average, so that it costs next to nothing."""
FIRST_STEPS = 80
"""Steps of which each is added."""
SHARE = 0.1
"""The share of all steps so far that the average reaches back, as an exponential window."""
NON_MONOTONE = 5
"""Evaluations in which the loss may be above the best before them, before NT-ASGD begins to average."""


class AveragedWeights:
    """An exponential moving average of a network's parameters over about the last tenth of its steps.

    Source: Polyak and Juditsky (1992) for averaging; the window grows with training, so that no length has to be chosen.
    """

    def __init__(self, network: Network) -> None:
        self._weights = network.named_weights()
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def additions(self, step: int) -> list[Task[None]]:
        """Return tasks that take in the weights after a step (from 1): none, if it is not one of those that count."""
        every = EVERY if step > FIRST_STEPS else 1
        return [] if step % every else self._taking_in(min(1.0, every / (SHARE * step)))

    def _taking_in(self, share: float) -> list[Task[None]]:
        return [
            partial(_take_in, average, weight, share)
            for name, whole in self._weights.items()
            for average, weight in zip(pieces(self._averages[name]), pieces(whole.detach()), strict=True)
        ]

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the averages as its weights for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, weight in self._weights.items():
            weight.data, self._averages[name] = self._averages[name], weight.data

    def arrays(self) -> Tensors:
        """Return copies of the averages as arrays."""
        return {name: average.float().cpu().numpy().copy() for name, average in self._averages.items()}

    def load_arrays(self, arrays: Tensors) -> None:
        """Set the averages from arrays of the same names and shapes."""
        for name, average in self._averages.items():
            average.copy_(torch.from_numpy(arrays[name].copy()))


class TriggeredAverage(AveragedWeights):
    """The plain mean of a network's parameters over all steps since `begin`, and before it those of the last step.

    Source: Merity et al. (2018), Regularizing and optimizing LSTM language models (NT-ASGD).
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.begun_at = 0

    def begin(self, step: int) -> None:
        """Average from the next step on."""
        self.begun_at = step

    def additions(self, step: int) -> list[Task[None]]:
        """Return tasks that take in the weights after a step."""
        return self._taking_in(1 / (step - self.begun_at) if self.begun_at else 1.0)


@torch.no_grad()
def _take_in(average: torch.Tensor, weight: torch.Tensor, share: float) -> None:
    average.lerp_(weight, share)


def is_triggered(losses: Sequence[float]) -> bool:
    """Tell whether the last of the validation losses so far is above the best of all but the `NON_MONOTONE` before it."""
    earlier = losses[: -1 - NON_MONOTONE]
    return bool(earlier) and losses[-1] > min(earlier)


def make_average(network: Network, optimizer: str) -> AveragedWeights:
    """Return the average that goes with an optimizer."""
    return (TriggeredAverage if optimizer == "nt-asgd" else AveragedWeights)(network)
