"""The loss: cross-entropy summed in nats, with its count; and the terms added to it in training."""

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""The target at padding."""


@dataclass(frozen=True)
class LossTotal:
    """A sum of losses in nats and its number of tokens; unlike means, sums can be added."""

    nats: float = 0.0
    num_tokens: int = 0

    def __add__(self, other: "LossTotal") -> "LossTotal":
        return LossTotal(self.nats + other.nats, self.num_tokens + other.num_tokens)

    @property
    def nats_per_token(self) -> float:
        """The mean, NaN over no tokens."""
        return self.nats / self.num_tokens if self.num_tokens else math.nan


def summed_cross_entropy(logits_TBV: Tensor, targets_TB: Tensor) -> Tensor:
    """Return the summed cross-entropy of the targets, in nats and in fp32, without padding.

    Args:
        logits_TBV: of any floating-point type.
        targets_TB: token ids, `IGNORED` at padding.
    """
    logits = logits_TBV.flatten(0, 1).float()
    return functional.cross_entropy(logits, targets_TB.flatten(), reduction="sum", ignore_index=IGNORED)


def summed_uniform_cross_entropy(logits_TBV: Tensor, targets_TB: Tensor) -> Tensor:
    """Return the summed cross-entropy with the uniform distribution as target, in nats, without padding.

    Label smoothing (Szegedy et al. 2016) minimizes a weighted mean of this and the cross-entropy of the targets.
    """
    log_probs = functional.log_softmax(logits_TBV.float(), dim=-1)
    return -log_probs.mean(dim=-1)[targets_TB != IGNORED].sum()


def summed_activation_penalty(dropped_TBH: Tensor, targets_TB: Tensor) -> Tensor:
    """Return the mean square of the outputs at each position, summed over positions without padding (AR).

    Args:
        dropped_TBH: outputs of the last layer after dropout.
        targets_TB: token ids, `IGNORED` at padding.
    """
    return dropped_TBH.float()[targets_TB != IGNORED].square().mean(dim=-1).sum()


def summed_temporal_penalty(raw_TBH: Tensor, targets_TB: Tensor) -> Tensor:
    """Return the mean square of the change of outputs from each position to the next, summed without padding (TAR).

    Args:
        raw_TBH: outputs of the last layer before dropout; with T = 1 the penalty is zero.
        targets_TB: token ids, `IGNORED` at padding.

    Source: Merity et al. (2018), Regularizing and optimizing LSTM language models, for both penalties.
    """
    counts = targets_TB != IGNORED
    changes = raw_TBH[1:].float() - raw_TBH[:-1].float()
    return changes[counts[1:] & counts[:-1]].square().mean(dim=-1).sum()
