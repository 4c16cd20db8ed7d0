"""What a step minimises: the loss of the targets after inputs that are true, or are not, and penalties beside it."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charnn.config import TrainingOptions
from charnn.randomness import draw_rows
from charnn.training.batches import IdArray
from charnn.training.loss import (
    IGNORED,
    summed_activation_penalty,
    summed_cross_entropy,
    summed_distance_from_uniform,
    summed_temporal_penalty,
)
from charnn.training.network.network import Network, NetworkState


class Objective(NamedTuple):
    """What a batch, or a group of its lanes, says of a network.

    Args:
        loss: cross-entropy of the group's targets in nats, summed, without gradient.
        minimised: what the gradient is of: the group's part of a mean over the batch's targets.
        state: that after the last token.
    """

    loss: Tensor
    objective_nats: Tensor
    state: NetworkState


class Counts(NamedTuple):
    """What the sums over a whole batch are divided by.

    Args:
        targets: targets that count.
        changes: targets that count and follow one that does, which the temporal penalty is over.
    """

    targets: int
    changes: int

    @classmethod
    def of(cls, targets_TB: IdArray) -> "Counts":
        """Count a batch's targets."""
        is_target = targets_TB != IGNORED
        return cls(int(np.count_nonzero(is_target)), int(np.count_nonzero(is_target[1:] & is_target[:-1])))


def objective(
    network: Network,
    inputs_TB: Tensor,
    targets_TB: Tensor,
    state: NetworkState,
    *,
    counts: Counts,
    options: TrainingOptions,
    generator: torch.Generator,
    teacher_forcing_probability: float = 1.0,
) -> Objective:
    """Read a batch in training, or a group of its lanes: over all groups, the minimised parts add up to the whole.

    Args:
        inputs_TB: true tokens.
        state: that before them; a gradient flows into it where it is learned.
        counts: those of the whole batch.
        options: which penalties, and how tokens are drawn.
        generator: all that is random comes from it.
        share_true: the share of inputs that stay true (see `drawn_inputs`).
    """
    if teacher_forcing_probability < 1:
        inputs_TB = drawn_inputs(
            network,
            inputs_TB,
            state,
            teacher_forcing_probability=teacher_forcing_probability,
            num_passes=options.sampling_passes,
            generator=generator,
        )
    outputs = network.outputs(inputs_TB, state, generator)
    logits_TBV = network.output(outputs.kept_TBH)
    loss = summed_cross_entropy(logits_TBV, targets_TB)
    objective_nats = loss
    if smoothing := options.label_smoothing:
        spread = summed_distance_from_uniform(logits_TBV, targets_TB)
        objective_nats = (1 - smoothing) * loss + smoothing * spread
    objective_nats = objective_nats / counts.targets
    if options.activation_penalty:
        penalty = summed_activation_penalty(outputs.kept_TBH, targets_TB)
        objective_nats = objective_nats + options.activation_penalty / counts.targets * penalty
    if options.temporal_penalty and counts.changes:
        penalty = summed_temporal_penalty(outputs.raw_TBH, targets_TB)
        objective_nats = objective_nats + options.temporal_penalty / counts.changes * penalty
    return Objective(loss.detach(), objective_nats, outputs.state)


@torch.no_grad()
def drawn_inputs(
    network: Network,
    inputs_TB: Tensor,
    state: NetworkState,
    *,
    teacher_forcing_probability: float,
    num_passes: int,
    generator: torch.Generator,
) -> Tensor:
    """Replace inputs at random places by tokens drawn from the network's own predictions, for all places at once.

    One pass draws each token after the true ones before it. A second draws after what the first left, and so on: after
    T passes every token is drawn after the very tokens that the network will read, as if drawn one by one. The coins and the
    draws' random numbers are the same in each pass. The first token of a batch, which an earlier batch predicted, stays.

    Args:
        share_true: the probability with which an input stays as it is.
        num_passes: how often.
        generator: all that is random comes from it.

    Source: Bengio et al. (2015) for scheduled sampling; Duckworth et al. (2019), Parallel scheduled sampling.
    """
    device = inputs_TB.device
    is_drawn_TB = torch.rand(inputs_TB.shape, device=device, generator=generator) >= teacher_forcing_probability
    is_drawn_TB[0] = False
    uniforms_N = torch.rand(inputs_TB.shape, device=device, generator=generator)[is_drawn_TB]
    read_TB = inputs_TB
    for _ in range(num_passes):
        outputs_TBH = network.outputs(read_TB, state).kept_TBH
        logits_NV = network.output(outputs_TBH[:-1][is_drawn_TB[1:]])
        read_TB = inputs_TB.clone()
        cumulative_NV = torch.softmax(logits_NV.float(), dim=-1).cumsum(dim=-1)
        read_TB[is_drawn_TB] = draw_rows(cumulative_NV, uniforms_N, torch)
    return read_TB


class TokenNoise:
    """Replaces inputs at random places by tokens drawn from the text, each as often as it stands there.

    Source: Xie et al. (2017), Data noising as smoothing in neural network language models (unigram noising).
    """

    def __init__(self, ids: npt.NDArray[Any], share: float) -> None:
        self._ids = ids
        self._share = share

    def apply(self, inputs_TB: IdArray, random: np.random.Generator) -> IdArray:
        """Return the inputs with some replaced.

        Args:
            random: all that is random comes from it.
        """
        if not self._share:
            return inputs_TB
        is_replaced = random.random(inputs_TB.shape) < self._share
        places = random.integers(len(self._ids), size=int(is_replaced.sum()))
        noisy = inputs_TB.copy()
        noisy[is_replaced] = np.asarray(self._ids[places])
        return noisy
