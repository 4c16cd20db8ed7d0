"""Averaged weights, which are less noisy than those of the last step: they are evaluated and saved.

`torch.optim.swa_utils.AveragedModel` computes the same averages, bit for bit, but in one call that cannot be divided among
workers, and it keeps a second network, whose weights are named otherwise than in a checkpoint.
"""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from charnn.storage.tensor_file import Tensors
from charnn.training.network.network import Network
from charnn.training.optim.optimizers import flat_chunks
from charnn.training.parallel.workers import Task

UPDATE_INTERVAL = 8
"""Steps between updates of the average, so that it costs next to nothing."""
NUM_FIRST_STEPS = 80
"""Steps at the start of training after each of which the average is updated."""
WINDOW_FRACTION = 0.1
"""Length of the exponential window, as a fraction of all steps so far."""
NON_MONOTONE_INTERVAL = 5
"""Most recent evaluations that NT-ASGD disregards when it compares the current loss with the best one."""


class AveragedWeights:
    """An exponential moving average of the parameters of a network over about the last tenth of all steps.

    The window grows with training, so its length need not be chosen. Source: Polyak and Juditsky (1992) for averaging.
    """

    def __init__(self, network: Network) -> None:
        self._weights = network.named_weights()
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def updates_after(self, step: int) -> list[Task[None]]:
        """Return tasks that update the average after a step.

        Args:
            step: number of the step, from 1; the list is empty for steps between two updates.
        """
        interval = UPDATE_INTERVAL if step > NUM_FIRST_STEPS else 1
        return [] if step % interval else self._updates(min(1.0, interval / (WINDOW_FRACTION * step)))

    def _updates(self, weight_fraction: float) -> list[Task[None]]:
        return [
            partial(_update_average, average, weight, weight_fraction)
            for name, whole in self._weights.items()
            if whole.requires_grad
            for average, weight in zip(flat_chunks(self._averages[name]), flat_chunks(whole.detach()), strict=True)
        ]

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Swap the averages into the network within a `with` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, weight in self._weights.items():
            if weight.is_cuda:  # the weights of a cuDNN layer lie side by side, and have to stay there
                weight_before = weight.data.clone()
                weight.data.copy_(self._averages[name])
                self._averages[name].copy_(weight_before)
            else:
                weight.data, self._averages[name] = self._averages[name], weight.data

    def arrays(self) -> Tensors:
        """Return copies of the averages as fp32 arrays."""
        return {name: average.float().cpu().numpy().copy() for name, average in self._averages.items()}

    def load_arrays(self, arrays: Tensors) -> None:
        """Load the averages from arrays of the same names and shapes."""
        for name, average in self._averages.items():
            average.copy_(torch.from_numpy(arrays[name].copy()))


class TriggeredAverage(AveragedWeights):
    """The mean of the parameters of a network over all steps since `start`; before it, the parameters of the last step.

    Source: Merity et al. (2018), Regularizing and optimizing LSTM language models (NT-ASGD).
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.started_at = 0

    def start(self, step: int) -> None:
        """Start averaging after the given step; 0 averages nothing yet."""
        self.started_at = step

    def updates_after(self, step: int) -> list[Task[None]]:
        """Return tasks that update the average after a step (from 1)."""
        return self._updates(1 / (step - self.started_at) if self.started_at else 1.0)


@torch.no_grad()
def _update_average(average: torch.Tensor, weight: torch.Tensor, weight_fraction: float) -> None:
    average.lerp_(weight, weight_fraction)


def is_triggered(losses: Sequence[float]) -> bool:
    """Return whether the last validation loss exceeds the best, disregarding the `NON_MONOTONE_INTERVAL` before the last."""
    earlier = losses[: -1 - NON_MONOTONE_INTERVAL]
    return bool(earlier) and losses[-1] > min(earlier)


def make_average(network: Network, optimizer: str) -> AveragedWeights:
    """Return the kind of average that an optimizer uses."""
    return (TriggeredAverage if optimizer == "nt-asgd" else AveragedWeights)(network)
