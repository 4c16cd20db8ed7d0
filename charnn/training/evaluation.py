"""Validation: the log probability of each held-out token, in fp32, without dropout.

A stream is one long forward pass with carried state. To read it in parallel it is cut into lanes, and each lane first
reads, unscored, the `WARM_UP` tokens before it: by then the state is the one that it would have carried, as far as the cell
remembers no longer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from charnn.optimize import fit_temperature
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import IdArray, UnitBatches
from charnn.training.loss import IGNORED, LossTotal
from charnn.training.network.network import Network, NetworkState
from charnn.training.parallel.groups import group_bounds
from charnn.training.parallel.workers import Workers

WARM_UP = 384
LONGEST_CHUNK = 128
MOST_LOGITS = 1 << 25
"""The most logits computed at once (128 MiB)."""
LANE_TOKENS = 1536
MOST_LANES = 128
UNIT_LANES = 32
FIXED_WINDOW_LANES = 32
FIXED_WINDOW = 256
"""Tokens read from an empty state in the cold protocol, as nanoGPT counts."""

MOST_STORED = 1 << 25
"""The most logits kept for the fit of a temperature; with a large vocabulary only the text's beginning is fitted to."""

LogProbs = npt.NDArray[np.float32]
Used = TypeVar("Used")
ReadTokens = tuple[Tensor, IdArray, IdArray]
"""Logits (T, B, V), the tokens that they are for (T, B), and the places of these in the text (T, B)."""


@dataclass(frozen=True)
class Validation:
    """What the held-out text says of a network.

    Args:
        loss: summed over its tokens, at the temperature.
        temperature: what its logits are best divided by (Guo et al. 2017): above 1 where the network is too sure.
    """

    loss: LossTotal
    temperature: float = 1.0


def validate(
    network: Network, ids: IdArray, vocabulary: Vocabulary, *, unit: str, workers: Workers | None = None
) -> Validation:
    """Return the loss over a held-out text (N,), each token after those before it in its unit.

    Args:
        ids: the encoded text (see `held_out_part`).
        unit: what is read from an empty state.
        workers: among whom the reading is shared out; by default this thread does it all.
    """
    workers = workers or Workers()
    if network.architecture.tie_weights:  # a scaled output layer would be a scaled embedding too
        return Validation(_summed(held_out_log_probs(network, ids, vocabulary, unit=unit, workers=workers)))
    part = held_out_part(ids, vocabulary, unit=unit, max_tokens=MOST_STORED // network.architecture.vocab_size)

    def kept(logits: Tensor, targets: IdArray, places: IdArray) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        counts = targets.ravel() != IGNORED
        return logits.flatten(0, 1)[torch.from_numpy(counts)].float(), _tensor(network, targets.ravel()[counts])

    stored = _read(network, part, vocabulary, unit, workers, kept)

    def loss_at(temperature: float) -> float:
        return sum(workers.run([partial(_summed_loss, *some, temperature) for some in stored]))

    temperature = fit_temperature(loss_at)
    if len(part) < len(ids):
        log_probs = held_out_log_probs(network, ids, vocabulary, unit=unit, temperature=temperature, workers=workers)
        return Validation(_summed(log_probs), temperature)
    return Validation(LossTotal(loss_at(temperature), len(ids)), temperature)


@torch.no_grad()
def _summed_loss(logits_NV: Tensor, targets_N: Tensor, temperature: float) -> float:
    return float(functional.cross_entropy(logits_NV / temperature, targets_N, reduction="sum"))


def _summed(log_probs: LogProbs) -> LossTotal:
    return LossTotal(-float(log_probs.sum(dtype=np.float64)), len(log_probs))


def held_out_part(ids: npt.NDArray[Any], vocabulary: Vocabulary, *, unit: str, max_tokens: int) -> IdArray:
    """Return about the first `max_tokens` of a held-out text (N,), whole units of it."""
    if unit != "stream" and len(ids) > max_tokens:
        ends = np.flatnonzero(np.asarray(ids) == vocabulary.boundary_id)
        max_tokens = int(ends[min(int(np.searchsorted(ends, max_tokens)), len(ends) - 1)]) + 1
    return np.asarray(ids[:max_tokens]).astype(np.int64)


def held_out_log_probs(
    network: Network,
    ids: IdArray,
    vocabulary: Vocabulary,
    *,
    unit: str,
    temperature: float = 1.0,
    workers: Workers | None = None,
) -> LogProbs:
    """Return log P of each token of a text (N,), in nats."""
    result = np.zeros(len(ids), dtype=np.float32)

    def written(logits: Tensor, targets: IdArray, places: IdArray) -> None:
        result[places[targets != IGNORED]] = _log_probs(network, logits / temperature, targets)

    _read(network, ids, vocabulary, unit, workers or Workers(), written)
    return result


Use = Callable[[Tensor, IdArray, IdArray], Used]
"""What is done with logits (T, B, V), the tokens that they are for (T, B), and the places of these in the text (T, B)."""


def _read(
    network: Network, ids: IdArray, vocabulary: Vocabulary, unit: str, workers: Workers, use: Use[Used]
) -> list[Used]:
    """Read a text, and return what is made of each part of it; which parts there are does not depend on the workers."""
    if unit == "stream":
        readers = [
            partial(_read_lanes, network, ids, vocabulary, lanes)
            for lanes in _lane_groups(len(ids), network.device.type)
        ]
    else:
        chunk = _chunk_length(network, UNIT_LANES)
        batches = UnitBatches(ids, vocabulary, num_lanes=UNIT_LANES, bptt_length=chunk, seed=None)
        readers = [partial(_read_units, network, batches, run) for run in batches.runs()]

    def used(reader: Callable[[], Iterator[ReadTokens]]) -> list[Used]:
        with torch.no_grad():
            return [use(*some) for some in reader()]

    return [some for part in workers.run([partial(used, reader) for reader in readers]) for some in part]


class _Lanes(NamedTuple):
    """A group of the lanes into which a stream is cut.

    Args:
        bounds: where all lanes begin and end.
        first, last: the group's lanes.
    """

    bounds: IdArray
    first: int
    last: int


def _lane_groups(num_tokens: int, device: str) -> list[_Lanes]:
    num_lanes = int(np.clip(num_tokens // LANE_TOKENS, 1, MOST_LANES))
    bounds = np.arange(num_lanes + 1) * num_tokens // num_lanes
    return [_Lanes(bounds, first, last) for first, last in group_bounds(num_lanes, device)]


def _read_lanes(network: Network, ids: IdArray, vocabulary: Vocabulary, lanes: _Lanes) -> Iterator[ReadTokens]:
    bounds, first_lane, last_lane = lanes
    num_lanes = last_lane - first_lane
    chunk = _chunk_length(network, num_lanes)
    starts, lengths = bounds[first_lane:last_lane], np.diff(bounds)[first_lane:last_lane]
    longest = int(np.diff(bounds).max())
    context = np.concatenate([[vocabulary.boundary_id], ids])
    state = network.initial_state(num_lanes)
    warm_up = min(WARM_UP, int(bounds[1])) if len(bounds) > 2 else 0
    for first in range(-warm_up, 0, chunk):
        times = np.arange(first, min(first + chunk, 0))[:, None]
        _, state = network(_tensor(network, context[np.maximum(starts + times, 0)]), state)
    if first_lane == 0:
        state = _with_fresh_first_lane(state, network.initial_state(1))
    for first in range(0, longest, chunk):
        times = np.arange(first, min(first + chunk, longest))[:, None]
        places = np.minimum(starts + times, len(ids) - 1)
        targets = np.where(times < lengths, ids[places], IGNORED)
        logits, state = network(_tensor(network, context[places]), state)
        yield logits, targets, places


def _read_units(network: Network, batches: UnitBatches, run: range) -> Iterator[ReadTokens]:
    """Read the batches of one run, whose first opens its units."""
    state: NetworkState | None = None
    for index in run:
        batch = batches.batch(0, index)
        assert batch is not None
        state = state or network.initial_state(batch.inputs_TB.shape[1])
        logits, state = network(_tensor(network, batch.inputs_TB), state)
        yield logits, batch.targets_TB, batch.places_TB


def fixed_window_loss(
    network: Network, ids: IdArray, vocabulary: Vocabulary, *, unit: str, workers: Workers | None = None
) -> LossTotal:
    """Return the summed loss over windows of `FIXED_WINDOW` tokens, each read from an empty state.

    The token before a window is its first context. Units of lines and documents are cut into windows of their own.
    """
    context = np.concatenate([[vocabulary.boundary_id], ids])
    begins = np.zeros(1, dtype=np.int64)
    if unit != "stream":
        begins = np.flatnonzero(context[:-1] == vocabulary.boundary_id)
    ends = np.append(begins[1:], len(ids))
    starts = np.concatenate([np.arange(begin, end, FIXED_WINDOW) for begin, end in zip(begins, ends, strict=True)])
    lengths = np.minimum(np.append(starts[1:], len(ids)) - starts, FIXED_WINDOW)
    by_length = np.argsort(lengths, kind="stable")
    lanes = max(1, min(FIXED_WINDOW_LANES, MOST_LOGITS // (FIXED_WINDOW * network.architecture.vocab_size)))

    @torch.no_grad()
    def loss_of(windows: IdArray) -> LossTotal:
        times = np.arange(int(lengths[windows].max()))[:, None]
        places = np.minimum(starts[windows] + times, len(ids) - 1)
        targets = np.where(times < lengths[windows], ids[places], IGNORED)
        logits, _ = network(_tensor(network, context[places]), network.initial_state(len(windows)))
        return _summed(_log_probs(network, logits, targets))

    groups = [by_length[first : first + lanes] for first in range(0, len(starts), lanes)]
    return sum((workers or Workers()).run([partial(loss_of, group) for group in groups]), LossTotal())


def _log_probs(network: Network, logits: Tensor, targets: IdArray) -> LogProbs:
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


def _tensor(network: Network, array: IdArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(network.device)
