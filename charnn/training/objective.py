"""What a step minimises: the loss of the targets after inputs that are true, or are not, and penalties beside it."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charnn.config import TrainingOptions
from charnn.training.batches import IdArray
from charnn.training.loss import (
    activation_penalty,
    summed_cross_entropy,
    summed_distance_from_uniform,
    temporal_penalty,
)
from charnn.training.network import Network, NetworkState


class Objective(NamedTuple):
    """What a batch says of a network.

    Args:
        loss: cross-entropy of the targets in nats, summed, without gradient.
        minimised: what the gradient is of, a mean over the targets.
        state: that after the last token.
    """

    loss: Tensor
    minimised: Tensor
    state: NetworkState


def objective(
    network: Network,
    inputs_TB: Tensor,
    targets_TB: Tensor,
    state: NetworkState,
    *,
    num_targets: int,
    options: TrainingOptions,
    share_true: float = 1.0,
) -> Objective:
    """Read a batch in training.

    Args:
        inputs_TB: true tokens.
        state: that before them; a gradient flows into it where it is learned.
        num_targets: targets that count.
        options: which penalties, and how tokens are drawn.
        share_true: the share of inputs that stay true (see `drawn_inputs`).
    """
    if share_true < 1:
        inputs_TB = drawn_inputs(network, inputs_TB, state, share_true=share_true, num_passes=options.sampling_passes)
    outputs = network.outputs(inputs_TB, state)
    logits_TBV = network.output(outputs.kept_TBH)
    loss = summed_cross_entropy(logits_TBV, targets_TB)
    minimised = loss
    if smoothing := options.label_smoothing:
        spread = summed_distance_from_uniform(logits_TBV, targets_TB)
        minimised = (1 - smoothing) * loss + smoothing * spread
    minimised = minimised / num_targets
    if options.activation_penalty:
        minimised = minimised + options.activation_penalty * activation_penalty(outputs.kept_TBH, targets_TB)
    if options.temporal_penalty:
        minimised = minimised + options.temporal_penalty * temporal_penalty(outputs.raw_TBH, targets_TB)
    return Objective(loss.detach(), minimised, outputs.state)


@torch.no_grad()
def drawn_inputs(
    network: Network, inputs_TB: Tensor, state: NetworkState, *, share_true: float, num_passes: int
) -> Tensor:
    """Replace inputs at random places by tokens drawn from the network's own predictions, for all places at once.

    One pass draws each token after the true ones before it. A second draws after what the first left, and so on: after
    T passes every token is drawn after the very tokens that the network will read, as if drawn one by one. The coins and the
    draws' random numbers are the same in each pass. The first token of a batch, which an earlier batch predicted, stays.

    Args:
        share_true: the probability with which an input stays as it is.
        num_passes: how often.

    Source: Bengio et al. (2015) for scheduled sampling; Duckworth et al. (2019), Parallel scheduled sampling.
    """
    device = inputs_TB.device
    is_drawn_TB = torch.rand(inputs_TB.shape, device=device) >= share_true
    is_drawn_TB[0] = False
    fractions = torch.rand(inputs_TB.shape, device=device)[is_drawn_TB]
    was_training = network.training
    network.eval()
    read_TB = inputs_TB
    for _ in range(num_passes):
        outputs_TBH = network.outputs(read_TB, state).kept_TBH
        logits_NV = network.output(outputs_TBH[:-1][is_drawn_TB[1:]])
        read_TB = inputs_TB.clone()
        read_TB[is_drawn_TB] = _tokens_at(logits_NV, fractions)
    network.train(was_training)
    return read_TB


def _tokens_at(logits_NV: Tensor, fractions_N: Tensor) -> Tensor:
    """Return the tokens at which the cumulative distributions pass random fractions (N,)."""
    cumulative_NV = torch.softmax(logits_NV.float(), dim=-1).cumsum(dim=-1)
    thresholds_N1 = (fractions_N * cumulative_NV[:, -1])[:, None]
    return torch.searchsorted(cumulative_NV, thresholds_N1, right=True)[:, 0].clamp(max=cumulative_NV.shape[1] - 1)


class TokenNoise:
    """Replaces inputs at random places by tokens drawn from the text, each as often as it stands there.

    Source: Xie et al. (2017), Data noising as smoothing in neural network language models (unigram noising).
    """

    def __init__(self, ids: npt.NDArray[Any], share: float) -> None:
        self._ids = ids
        self._share = share

    def apply(self, inputs_TB: IdArray) -> IdArray:
        """Return the inputs with some replaced. All that is random comes from torch's generator, which a checkpoint holds."""
        if not self._share:
            return inputs_TB
        is_replaced = (torch.rand(inputs_TB.shape) < self._share).numpy()
        places = torch.randint(len(self._ids), (int(is_replaced.sum()),)).numpy()
        noisy = inputs_TB.copy()
        noisy[is_replaced] = np.asarray(self._ids[places])
        return noisy
