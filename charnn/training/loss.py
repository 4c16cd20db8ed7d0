"""The loss: cross-entropy summed in nats, with its count; and what is minimised beside it."""

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


def summed_distance_from_uniform(logits_TBV: Tensor, targets_TB: Tensor) -> Tensor:
    """Return the sum over all places of the mean of -log P over the vocabulary, in nats, padding left out.

    Label smoothing (Szegedy et al. 2016) minimises a mixture of this and the cross-entropy.
    """
    log_probs = functional.log_softmax(logits_TBV.float(), dim=-1)
    return -log_probs.mean(dim=-1)[targets_TB != IGNORED].sum()


def summed_activation_penalty(kept_TBH: Tensor, targets_TB: Tensor) -> Tensor:
    """Return the mean square of each place's outputs, summed over the places that count (AR)."""
    return kept_TBH.float()[targets_TB != IGNORED].square().mean(dim=-1).sum()


def summed_temporal_penalty(raw_TBH: Tensor, targets_TB: Tensor) -> Tensor:
    """Return the mean square of the change of outputs from one place that counts to the next, summed over such pairs (TAR).

    Source: Merity et al. (2018), Regularizing and optimizing LSTM language models, for both penalties; zero for one token.
    """
    counts = targets_TB != IGNORED
    changes = raw_TBH[1:].float() - raw_TBH[:-1].float()
    return changes[counts[1:] & counts[:-1]].square().mean(dim=-1).sum()
