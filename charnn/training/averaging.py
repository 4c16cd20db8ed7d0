"""Averaged weights: less noisy than those of the last step, and what is evaluated and saved."""

import contextlib
from collections.abc import Iterator

import torch

from charnn.pairs import Tensors
from charnn.training.network import Network

EVERY = 8
"""Steps between two additions to the average, so that it costs next to nothing."""
FIRST_STEPS = 80
"""Steps of which each is added."""
SHARE = 0.1
"""The share of all steps so far that the average reaches back, as an exponential window."""


class AveragedWeights:
    """An exponential moving average of a network's parameters over about the last tenth of its steps.

    Source: Polyak and Juditsky (1992) for averaging; the window grows with training, so that no length has to be chosen.
    """

    def __init__(self, network: Network) -> None:
        self._weights = network.named_weights()
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take in the weights after a step (from 1), if it is one of those that count."""
        every = EVERY if step > FIRST_STEPS else 1
        if step % every:
            return
        share = min(1.0, every / (SHARE * step))
        torch._foreach_lerp_(
            list(self._averages.values()), [weight.detach() for weight in self._weights.values()], share
        )

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
