"""The loss: cross-entropy summed in nats, with its count."""

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""The target of a place that is padding."""


@dataclass(frozen=True)
class LossTotal:
    """A sum of losses in nats and the number of tokens that it is over; sums add up, averages do not."""

    nats: float = 0.0
    num_tokens: int = 0

    def __add__(self, other: "LossTotal") -> "LossTotal":
        return LossTotal(self.nats + other.nats, self.num_tokens + other.num_tokens)

    @property
    def nats_per_token(self) -> float:
        """The mean, NaN over no tokens."""
        return self.nats / self.num_tokens if self.num_tokens else math.nan


def summed_cross_entropy(logits_TBV: Tensor, targets_TB: Tensor) -> Tensor:
    """Return the sum over all places of -log P(target) in nats, in fp32, padding left out."""
    logits = logits_TBV.flatten(0, 1).float()
    return functional.cross_entropy(logits, targets_TB.flatten(), reduction="sum", ignore_index=IGNORED)
