"""Validation: the log probability of each held-out token, in fp32, without dropout.

A stream is one long forward pass with carried state. To read it in parallel it is cut into lanes, and each lane first
reads, unscored, the `WARM_UP` tokens before it: by then the state is the one that it would have carried, as far as the cell
remembers no longer.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from charnn.golden import lowest
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import UnitBatches
from charnn.training.loss import IGNORED, LossTotal
from charnn.training.network import Network, NetworkState

WARM_UP = 384
LONGEST_CHUNK = 128
MOST_LOGITS = 1 << 25
"""The most logits computed at once (128 MiB)."""
LANE_TOKENS = 1536
MOST_LANES = 128
UNIT_LANES = 32
COLD_WINDOW = 256
"""Tokens read from an empty state in the cold protocol, as nanoGPT counts."""

MOST_STORED = 1 << 25
"""The most logits kept for the fit of a temperature; with a large vocabulary only the text's beginning is fitted to."""
TEMPERATURES = (0.5, 2.0)
TEMPERATURE_TOLERANCE = 1e-3

LogProbs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Validation:
    """What the held-out text says of a network.

    Args:
        loss: summed over its tokens, at the temperature.
        temperature: what its logits are best divided by (Guo et al. 2017): above 1 where the network is too sure.
    """

    loss: LossTotal
    temperature: float = 1.0


def validate(network: Network, ids: npt.NDArray[np.int64], vocabulary: Vocabulary, *, unit: str) -> Validation:
    """Return the loss over a held-out text (N,), each token after those before it in its unit.

    Args:
        ids: the encoded text (see `held_out_part`).
        unit: what is read from an empty state.
    """
    if network.architecture.tie_weights:  # a scaled output layer would be a scaled embedding too
        return Validation(_summed(held_out_log_probs(network, ids, vocabulary, unit=unit)))
    part = held_out_part(ids, vocabulary, unit=unit, max_tokens=MOST_STORED // network.architecture.vocab_size)
    with _evaluating(network):
        stored = [
            (logits.flatten(0, 1)[torch.from_numpy(targets.ravel() != IGNORED)].float(), targets[targets != IGNORED])
            for logits, targets, _ in _read(network, part, vocabulary, unit)
        ]
    logits_NV = torch.cat([logits for logits, _ in stored])
    targets_N = _tensor(network, np.concatenate([targets for _, targets in stored]))

    def loss_at(temperature: float) -> float:
        return float(functional.cross_entropy(logits_NV / temperature, targets_N, reduction="sum"))

    temperature = lowest(loss_at, *TEMPERATURES, TEMPERATURE_TOLERANCE)
    if len(part) < len(ids):
        return Validation(
            _summed(held_out_log_probs(network, ids, vocabulary, unit=unit, temperature=temperature)), temperature
        )
    return Validation(LossTotal(loss_at(temperature), len(ids)), temperature)


def _summed(log_probs: LogProbs) -> LossTotal:
    return LossTotal(-float(log_probs.sum(dtype=np.float64)), len(log_probs))


def held_out_part(
    ids: npt.NDArray[Any], vocabulary: Vocabulary, *, unit: str, max_tokens: int
) -> npt.NDArray[np.int64]:
    """Return about the first `max_tokens` of a held-out text (N,), whole units of it."""
    if unit != "stream" and len(ids) > max_tokens:
        ends = np.flatnonzero(np.asarray(ids) == vocabulary.boundary_id)
        max_tokens = int(ends[min(int(np.searchsorted(ends, max_tokens)), len(ends) - 1)]) + 1
    return np.asarray(ids[:max_tokens]).astype(np.int64)


def held_out_log_probs(
    network: Network, ids: npt.NDArray[np.int64], vocabulary: Vocabulary, *, unit: str, temperature: float = 1.0
) -> LogProbs:
    """Return log P of each token of a text (N,), in nats."""
    found = np.zeros(len(ids), dtype=np.float32)
    with _evaluating(network):
        for logits, targets, places in _read(network, ids, vocabulary, unit):
            found[places[targets != IGNORED]] = _log_probs(network, logits / temperature, targets)
    return found


@contextlib.contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(was_training)


ReadTokens = tuple[torch.Tensor, npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Logits (T, B, V), the tokens that they are for (T, B), and the places of these in the text (T, B)."""


def _read(network: Network, ids: npt.NDArray[np.int64], vocabulary: Vocabulary, unit: str) -> Iterator[ReadTokens]:
    return (_read_stream if unit == "stream" else _read_units)(network, ids, vocabulary)


def _read_stream(network: Network, ids: npt.NDArray[np.int64], vocabulary: Vocabulary) -> Iterator[ReadTokens]:
    num_lanes = int(np.clip(len(ids) // LANE_TOKENS, 1, MOST_LANES))
    chunk = _chunk_length(network, num_lanes)
    bounds = np.arange(num_lanes + 1) * len(ids) // num_lanes
    starts, lengths = bounds[:-1], np.diff(bounds)
    context = np.concatenate([[vocabulary.boundary_id], ids])
    state = network.initial_state(num_lanes)
    warm_up = min(WARM_UP, int(starts[1])) if num_lanes > 1 else 0
    for first in range(-warm_up, 0, chunk):
        times = np.arange(first, min(first + chunk, 0))[:, None]
        _, state = network(_tensor(network, context[np.maximum(starts + times, 0)]), state)
    state = _with_fresh_first_lane(state, network.initial_state(1))
    for first in range(0, int(lengths.max()), chunk):
        times = np.arange(first, min(first + chunk, int(lengths.max())))[:, None]
        places = np.minimum(starts + times, len(ids) - 1)
        targets = np.where(times < lengths, ids[places], IGNORED)
        logits, state = network(_tensor(network, context[places]), state)
        yield logits, targets, places


def _read_units(network: Network, ids: npt.NDArray[np.int64], vocabulary: Vocabulary) -> Iterator[ReadTokens]:
    chunk = _chunk_length(network, UNIT_LANES)
    batches = UnitBatches(ids, vocabulary, num_lanes=UNIT_LANES, bptt_length=chunk, seed=None)
    for index in range(batches.steps_per_epoch):
        batch = batches.batch(0, index)
        assert batch is not None
        if batch.opens:
            state = network.initial_state(batch.inputs_TB.shape[1])
        logits, state = network(_tensor(network, batch.inputs_TB), state)
        yield logits, batch.targets_TB, batch.places_TB


def cold_loss(network: Network, ids: npt.NDArray[np.int64], vocabulary: Vocabulary, *, unit: str) -> LossTotal:
    """Return the summed loss over windows of `COLD_WINDOW` tokens, each read from an empty state.

    The token before a window is its first context. Units of lines and documents are cut into windows of their own.
    """
    context = np.concatenate([[vocabulary.boundary_id], ids])
    begins = np.zeros(1, dtype=np.int64)
    if unit != "stream":
        begins = np.flatnonzero(context[:-1] == vocabulary.boundary_id)
    ends = np.append(begins[1:], len(ids))
    starts = np.concatenate([np.arange(begin, end, COLD_WINDOW) for begin, end in zip(begins, ends, strict=True)])
    lengths = np.minimum(np.append(starts[1:], len(ids)) - starts, COLD_WINDOW)
    by_length = np.argsort(lengths, kind="stable")
    lanes = max(1, min(MOST_LANES, MOST_LOGITS // (COLD_WINDOW * network.architecture.vocab_size)))
    total = LossTotal()
    with _evaluating(network):
        for first in range(0, len(starts), lanes):
            windows = by_length[first : first + lanes]
            times = np.arange(int(lengths[windows].max()))[:, None]
            places = np.minimum(starts[windows] + times, len(ids) - 1)
            targets = np.where(times < lengths[windows], ids[places], IGNORED)
            logits, _ = network(_tensor(network, context[places]), network.initial_state(len(windows)))
            total += _summed(_log_probs(network, logits, targets))
    return total


def _log_probs(network: Network, logits: torch.Tensor, targets: npt.NDArray[np.int64]) -> LogProbs:
    """Return log P of the targets that count, in nats."""
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(), _tensor(network, targets).flatten(), reduction="none", ignore_index=IGNORED
    )
    log_probs: LogProbs = -losses.cpu().numpy()[targets.ravel() != IGNORED]
    return log_probs


def _chunk_length(network: Network, num_lanes: int) -> int:
    return int(np.clip(MOST_LOGITS // (num_lanes * network.architecture.vocab_size), 1, LONGEST_CHUNK))


def _with_fresh_first_lane(state: NetworkState, initial: NetworkState) -> NetworkState:
    """The first lane has no text before it: its state is the one with which a text begins."""
    return tuple(
        tuple(torch.cat((fresh.to(part.dtype), part[1:])) for part, fresh in zip(layer, begin, strict=True))
        for layer, begin in zip(state, initial, strict=True)
    )


def _tensor(network: Network, array: npt.NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(network.device)
