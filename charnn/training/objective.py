"""The training objective: cross-entropy with label smoothing, penalties, scheduled sampling and token noise."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charnn.config import TrainingOptions
from charnn.randomness import draw_rows
from charnn.text.stored_ids import tokens_at
from charnn.training.batches import IdArray
from charnn.training.chunked_loss import chunked_losses, is_chunked
from charnn.training.loss import (
    IGNORED,
    summed_activation_penalty,
    summed_cross_entropy,
    summed_temporal_penalty,
    summed_uniform_cross_entropy,
)
from charnn.training.network.network import Network, NetworkState


class Objective(NamedTuple):
    """The objective of a batch, or of a group of its lanes.

    Args:
        loss: summed cross-entropy of the targets in nats, detached.
        objective_nats: the scalar to differentiate: this group's part of the mean over the targets of the batch.
        state: after the last token.
    """

    loss: Tensor
    objective_nats: Tensor
    state: NetworkState


class Counts(NamedTuple):
    """The denominators of the means over a batch.

    Args:
        targets: number of targets without padding.
        changes: number of those whose predecessor is not padding, for the temporal penalty.
    """

    targets: int
    changes: int

    @classmethod
    def of(cls, targets_TB: IdArray) -> "Counts":
        """Count the targets of a batch."""
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
    """Compute the objective of a batch, or of a group of its lanes; the objective of a batch is the sum over its groups.

    Args:
        network: on the device of the tensors.
        inputs_TB: reference tokens.
        targets_TB: the next tokens, `IGNORED` at padding.
        state: before the first token; a learned initial state receives a gradient.
        counts: of the whole batch.
        options: the penalties, label smoothing and the passes of scheduled sampling.
        generator: source of all randomness.
        teacher_forcing_probability: of keeping a reference token as input (see `sampled_inputs`).
    """
    if teacher_forcing_probability < 1:
        inputs_TB = sampled_inputs(
            network,
            inputs_TB,
            state,
            teacher_forcing_probability=teacher_forcing_probability,
            num_passes=options.sampling_passes,
            generator=generator,
        )
    outputs = network.outputs(inputs_TB, state, generator)
    loss, objective_nats = _losses(network, outputs.dropped_TBH, targets_TB, options.label_smoothing)
    objective_nats = objective_nats / counts.targets
    if options.activation_penalty:
        penalty = summed_activation_penalty(outputs.dropped_TBH, targets_TB)
        objective_nats = objective_nats + options.activation_penalty / counts.targets * penalty
    if options.temporal_penalty and counts.changes:
        penalty = summed_temporal_penalty(outputs.raw_TBH, targets_TB)
        objective_nats = objective_nats + options.temporal_penalty / counts.changes * penalty
    return Objective(loss.detach(), objective_nats, outputs.state)


def _losses(network: Network, dropped_TBH: Tensor, targets_TB: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy of the targets, and the smoothed one, which is differentiated."""
    output = network.output
    if is_chunked(targets_TB.numel(), len(output.bias), targets_TB.device.type):
        return chunked_losses(dropped_TBH, output.weight, output.bias, targets_TB, label_smoothing=label_smoothing)
    logits_TBV = output(dropped_TBH)
    loss = summed_cross_entropy(logits_TBV, targets_TB)
    if not label_smoothing:
        return loss, loss
    spread = summed_uniform_cross_entropy(logits_TBV, targets_TB)
    return loss, (1 - label_smoothing) * loss + label_smoothing * spread


@torch.no_grad()
def sampled_inputs(
    network: Network,
    inputs_TB: Tensor,
    state: NetworkState,
    *,
    teacher_forcing_probability: float,
    num_passes: int,
    generator: torch.Generator,
) -> Tensor:
    """Replace random inputs by samples from the network's own predictions, at all positions in parallel.

    The first pass samples each token given the reference tokens before it; each further pass samples given the output of the
    pass before. With T passes the result equals sequential sampling. All passes use the same random numbers. The first input
    of a batch, which an earlier batch predicted, is never replaced.

    Args:
        network: on the device of the tensors.
        inputs_TB: reference tokens.
        state: before the first token.
        teacher_forcing_probability: of keeping a reference token.
        num_passes: forward passes.
        generator: source of all randomness.

    Returns:
        The inputs with some replaced (T, B).

    Source: Bengio et al. (2015) for scheduled sampling; Duckworth et al. (2019), Parallel scheduled sampling.
    """
    device = inputs_TB.device
    is_drawn_TB = torch.rand(inputs_TB.shape, device=device, generator=generator) >= teacher_forcing_probability
    is_drawn_TB[0] = False
    uniforms_N = torch.rand(inputs_TB.shape, device=device, generator=generator)[is_drawn_TB]
    mixed_TB = inputs_TB
    vocab_size = network.architecture.vocab_size
    labels_N = inputs_TB[is_drawn_TB] // vocab_size * vocab_size  # see `with_labels`
    for _ in range(num_passes):
        outputs_TBH = network.outputs(mixed_TB, state).dropped_TBH
        logits_NV = network.output(outputs_TBH[:-1][is_drawn_TB[1:]])
        mixed_TB = inputs_TB.clone()
        cumulative_NV = torch.softmax(logits_NV.float(), dim=-1).cumsum(dim=-1)
        drawn_N = draw_rows(cumulative_NV, uniforms_N, torch)
        mixed_TB[is_drawn_TB] = drawn_N + labels_N if network.labels is not None else drawn_N
    return mixed_TB


class TokenNoise:
    """Replaces random inputs by samples from the unigram distribution of the text.

    Args:
        ids: the encoded text (N,).
        probability: of replacing an input.
        vocab_size: V; by which inputs keep their labels (see `with_labels`), if they have any.

    Source: Xie et al. (2017), Data noising as smoothing in neural network language models (unigram noising).
    """

    def __init__(self, ids: npt.NDArray[Any], probability: float, *, vocab_size: int | None = None) -> None:
        self._ids, self._vocab_size = ids, vocab_size
        self._probability = probability

    def apply(self, inputs_TB: IdArray, random: np.random.Generator) -> IdArray:
        """Return the inputs with some replaced.

        Args:
            inputs_TB: token ids.
            random: source of all randomness.
        """
        if not self._probability:
            return inputs_TB
        is_replaced = random.random(inputs_TB.shape) < self._probability
        positions = random.integers(len(self._ids), size=int(is_replaced.sum()))
        noisy = inputs_TB.copy()
        noisy[is_replaced] = tokens_at(self._ids, positions)
        if self._vocab_size is not None:
            noisy += inputs_TB // self._vocab_size * self._vocab_size * is_replaced
        return noisy
