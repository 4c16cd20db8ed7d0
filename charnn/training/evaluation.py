"""Validation: the loss over held-out text, in fp32, without dropout.

A stream is one long forward pass with carried state. To read it in parallel it is cut into lanes, and each lane first
reads, unscored, the `WARM_UP` tokens before it: by then the state is the one that it would have carried.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import UnitBatches
from charnn.training.loss import LossTotal, summed_cross_entropy
from charnn.training.network import Network, NetworkState

WARM_UP = 384
LONGEST_CHUNK = 128
MOST_LOGITS = 1 << 25
"""The most logits computed at once (128 MiB)."""
LANE_TOKENS = 1536
MOST_LANES = 128
UNIT_LANES = 32


@torch.no_grad()
def evaluate(
    network: Network, ids: npt.NDArray[Any], vocabulary: Vocabulary, *, unit: str, max_tokens: int
) -> LossTotal:
    """Return the summed loss over a held-out text.

    Args:
        ids: the encoded text (N,).
        unit: what is read from an empty state.
        max_tokens: read no more than about this many tokens from the beginning.
    """
    was_training = network.training
    network.eval()
    try:
        if unit == "stream":
            return _evaluate_stream(network, ids[:max_tokens], vocabulary.boundary_id)
        return _evaluate_units(network, ids, vocabulary, max_tokens)
    finally:
        network.train(was_training)


def _evaluate_stream(network: Network, ids: npt.NDArray[Any], boundary_id: int) -> LossTotal:
    num_lanes = int(np.clip(len(ids) // LANE_TOKENS, 1, MOST_LANES))
    chunk = _chunk_length(network, num_lanes)
    bounds = np.arange(num_lanes + 1) * len(ids) // num_lanes
    starts, lengths = bounds[:-1], np.diff(bounds)
    context = np.concatenate([[boundary_id], np.asarray(ids, dtype=np.int64)])
    state = network.initial_state(num_lanes)
    warm_up = min(WARM_UP, int(starts[1])) if num_lanes > 1 else 0
    for first in range(-warm_up, 0, chunk):
        times = np.arange(first, min(first + chunk, 0))[:, None]
        _, state = network(_tensor(network, context[np.maximum(starts + times, 0)]), state)
    state = _with_empty_first_lane(state)
    total = LossTotal()
    for first in range(0, int(lengths.max()), chunk):
        times = np.arange(first, min(first + chunk, int(lengths.max())))[:, None]
        places = np.minimum(starts + times, len(ids) - 1)
        targets = np.where(times < lengths, context[places + 1], -100)
        logits, state = network(_tensor(network, context[places]), state)
        loss = summed_cross_entropy(logits, _tensor(network, targets))
        total += LossTotal(float(loss), int(np.count_nonzero(targets != -100)))
    return total


def _chunk_length(network: Network, num_lanes: int) -> int:
    return int(np.clip(MOST_LOGITS // (num_lanes * network.architecture.vocab_size), 1, LONGEST_CHUNK))


def _with_empty_first_lane(state: NetworkState) -> NetworkState:
    """The first lane has no text before it: its state is empty."""
    parts = tuple(tuple(part.clone() for part in layer) for layer in state)
    for layer in parts:
        for part in layer:
            part[0] = 0
    return parts


def _evaluate_units(network: Network, ids: npt.NDArray[Any], vocabulary: Vocabulary, max_tokens: int) -> LossTotal:
    ids = np.asarray(ids)
    if len(ids) > max_tokens:
        ends = np.flatnonzero(ids == vocabulary.boundary_id)
        last = min(int(np.searchsorted(ends, max_tokens)), len(ends) - 1)
        ids = ids[: ends[last] + 1]
    batches = UnitBatches(
        ids, vocabulary, num_lanes=UNIT_LANES, bptt_length=_chunk_length(network, UNIT_LANES), seed=None
    )
    total = LossTotal()
    for index in range(batches.steps_per_epoch):
        batch = batches.batch(0, index)
        assert batch is not None
        if batch.opens:
            state = network.initial_state(batch.inputs_TB.shape[1])
        logits, state = network(_tensor(network, batch.inputs_TB), state)
        total += LossTotal(float(summed_cross_entropy(logits, _tensor(network, batch.targets_TB))), batch.num_targets)
    return total


def _tensor(network: Network, array: npt.NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(network.embedding.weight.device)
