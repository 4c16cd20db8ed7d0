"""Validation: the log probability of each held-out token, in fp32, without dropout.

The hidden state is carried through a stream. For a parallel forward pass, it is split into batch rows, each warmed up on the
`WARM_UP_TOKENS` tokens before it, more for a wide window of attention, so that its state approximates the carried one. If only
pieces of it are evaluated, they are the rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from charnn.optimize import fit_temperature
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import IdArray, UnitBatches, with_labels
from charnn.training.held_out import HeldOutText
from charnn.training.loss import IGNORED, LossTotal
from charnn.training.network.network import Network, NetworkState
from charnn.training.parallel.groups import group_bounds
from charnn.training.parallel.workers import Workers

WARM_UP_TOKENS, TOKENS_BEFORE_WINDOW = 384, 128
"""Tokens that warm up a row, at least; and those before the window of attention, in which the recurrent state approaches that
of a longer text."""
MAX_CHUNK_LENGTH = 128
MAX_LOGITS = {"cpu": 1 << 21, "cuda": 1 << 25}
"""Maximum number of logits in a forward pass (8 and 128 MiB); several of them are in memory for each worker."""
TOKENS_PER_ROW = 1536
MAX_ROWS = 128
UNIT_BATCH_SIZE = 32
FIXED_WINDOW_BATCH_SIZE = 32
FIXED_WINDOW = 256
"""Tokens in a window for `fixed_window_loss`, the context length of nanoGPT's character model."""

MAX_STORED_LOGITS = 1 << 24
"""Maximum number of logits stored to fit the temperature; with a large vocabulary, only the beginning of the text is used."""

LogProbs = npt.NDArray[np.float32]
Mapped = TypeVar("Mapped")
Predictions = tuple[Tensor, IdArray, IdArray]
"""Logits (T, B, V), their targets (T, B), and the indices of the targets among the tokens that are evaluated (T, B)."""


@dataclass(frozen=True)
class Validation:
    """The result of an evaluation on held-out text.

    Args:
        loss: loss at the temperature, summed over the tokens.
        temperature: divisor of the logits that minimizes the loss (Guo et al. 2017); above 1 if the network is overconfident.
        old_loss_nats: loss per token on held-out text of the model that is trained further, if any.
    """

    loss: LossTotal
    temperature: float = 1.0
    old_loss_nats: float | None = None


def validate(
    network: Network, text: HeldOutText, vocabulary: Vocabulary, *, workers: Workers | None = None
) -> Validation:
    """Evaluate a network on a held-out text, each token in the context of its unit.

    Args:
        network: on its device.
        text: whose units each begin from the initial state.
        workers: threads among which the forward passes are divided; by default, only the calling thread.
    """
    workers = workers or Workers()
    if network.has_fixed_output:
        return Validation(_summed(held_out_log_probs(network, text, vocabulary, workers=workers)))
    part = text.part(vocabulary, max_tokens=MAX_STORED_LOGITS // network.architecture.vocab_size)

    def select(logits: Tensor, targets: IdArray, positions: IdArray) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        counts = targets.ravel() != IGNORED
        return logits.flatten(0, 1)[torch.from_numpy(counts)].float(), _tensor(network, targets.ravel()[counts])

    stored = _map_predictions(network, part, vocabulary, workers, select)

    def loss_at(temperature: float) -> float:
        return sum(workers.run([partial(_summed_loss, *predictions, temperature) for predictions in stored]))

    temperature = fit_temperature(loss_at)
    if part is not text:
        log_probs = held_out_log_probs(network, text, vocabulary, temperature=temperature, workers=workers)
        return Validation(_summed(log_probs), temperature)
    return Validation(LossTotal(loss_at(temperature), len(text)), temperature)


@torch.no_grad()
def _summed_loss(logits_NV: Tensor, targets_N: Tensor, temperature: float) -> float:
    return float(functional.cross_entropy(logits_NV / temperature, targets_N, reduction="sum"))


def _summed(log_probs: LogProbs) -> LossTotal:
    return LossTotal(-float(log_probs.sum(dtype=np.float64)), len(log_probs))


def held_out_log_probs(
    network: Network,
    text: HeldOutText,
    vocabulary: Vocabulary,
    *,
    temperature: float = 1.0,
    workers: Workers | None = None,
) -> LogProbs:
    """Return the log probability of each token of a held-out text (M,), in nats."""
    result = np.zeros(len(text), dtype=np.float32)

    def write(logits: Tensor, targets: IdArray, positions: IdArray) -> None:
        result[positions[targets != IGNORED]] = _log_probs(network, logits / temperature, targets)

    _map_predictions(network, text, vocabulary, workers or Workers(), write)
    return result


def visit_log_probs(
    network: Network,
    text: HeldOutText,
    vocabulary: Vocabulary,
    visit: Callable[[LogProbs, IdArray], object],
    *,
    workers: Workers | None = None,
) -> None:
    """Call a function with the log probabilities of the whole vocabulary for tokens of a held-out text, until it had all.

    Args:
        visit: called by the threads of the workers with log probabilities in nats (n, V), and the indices of the tokens (n,).
    """

    def logits_visited(logits: Tensor, targets: IdArray, positions: IdArray) -> None:
        is_token = targets.ravel() != IGNORED
        chosen = logits.flatten(0, 1)[torch.from_numpy(is_token).to(logits.device)].float()
        visit(functional.log_softmax(chosen, dim=1).cpu().numpy(), positions.ravel()[is_token])

    _map_predictions(network, text, vocabulary, workers or Workers(), logits_visited)


PredictionFunction = Callable[[Tensor, IdArray, IdArray], Mapped]
"""A function of `Predictions`."""


def _map_predictions(
    network: Network,
    text: HeldOutText,
    vocabulary: Vocabulary,
    workers: Workers,
    function: PredictionFunction[Mapped],
) -> list[Mapped]:
    """Map a function over the batches of predictions; the batches do not depend on the workers."""
    if text.unit == "stream":
        sources = [partial(_predict_rows, network, text, rows) for rows in _row_groups(text, network)]
    else:
        chunk = _chunk_length(network, UNIT_BATCH_SIZE)
        batches = UnitBatches(
            text.tokens,
            vocabulary,
            batch_size=UNIT_BATCH_SIZE,
            bptt_length=chunk,
            seed=None,
            labels=text.unit_labels,
        )
        sources = [partial(_predict_units, network, batches, indices) for indices in batches.unit_ranges()]

    def mapped(predict: Callable[[], Iterator[Predictions]]) -> list[Mapped]:
        with torch.no_grad():
            return [function(*predictions) for predictions in predict()]

    results = workers.run([partial(mapped, predict) for predict in sources])
    return [value for values in results for value in values]


class _RowGroup(NamedTuple):
    """A group of the batch rows into which a stream is split.

    Args:
        starts, lengths: of the rows, in tokens of the whole text (B,).
        offsets: the index of each row's first token among the tokens that are evaluated (B,).
        longest, warm_up: the longest row of all groups, and the tokens before each row that only warm up its state.
    """

    starts: IdArray
    lengths: IdArray
    offsets: IdArray
    longest: int
    warm_up: int


def _row_groups(text: HeldOutText, network: Network) -> list[_RowGroup]:
    """Return the rows: the pieces of the text, or parts of the whole that are as long as what warms them up."""
    starts, lengths = text.starts, text.lengths
    warm_up = max(WARM_UP_TOKENS, network.architecture.attention_window + TOKENS_BEFORE_WINDOW)
    if len(starts) == 1:
        num_rows = int(np.clip(len(text) // max(TOKENS_PER_ROW, warm_up), 1, MAX_ROWS))
        bounds = np.arange(num_rows + 1) * len(text) // num_rows
        starts, lengths = text.starts[0] + bounds[:-1], np.diff(bounds)
    offsets = np.cumsum(lengths) - lengths
    warm_up = min(warm_up, int(starts[1])) if len(starts) > 1 else 0
    return [
        _RowGroup(starts[first:last], lengths[first:last], offsets[first:last], int(lengths.max()), warm_up)
        for first, last in group_bounds(len(starts), device=network.device.type)
    ]


def _predict_rows(network: Network, text: HeldOutText, rows: _RowGroup) -> Iterator[Predictions]:
    num_rows = len(rows.starts)
    chunk = _chunk_length(network, num_rows)
    state = network.initial_state(num_rows)
    for first in range(-rows.warm_up, 0, chunk):
        times = np.arange(first, min(first + chunk, 0))[:, None]
        _, state = network(_tensor(network, text.tokens_before(rows.starts + times)), state)
    if rows.starts[0] == 0:
        state = _with_initial_first_row(state, network.initial_state(1))
    for first in range(0, rows.longest, chunk):
        times = np.arange(first, min(first + chunk, rows.longest))[:, None]
        positions = np.minimum(rows.starts + times, len(text.ids) - 1)
        targets = np.where(times < rows.lengths, np.asarray(text.ids[positions]).astype(np.int64), IGNORED)
        logits, state = network(_tensor(network, text.tokens_before(positions)), state)
        yield logits, targets, rows.offsets + times


def _predict_units(network: Network, batches: UnitBatches, indices: range) -> Iterator[Predictions]:
    """Yield predictions for consecutive batches, the first of which begins its units."""
    state: NetworkState | None = None
    for index in indices:
        batch = batches.batch(0, index)
        assert batch is not None
        state = state or network.initial_state(batch.inputs_TB.shape[1])
        logits, state = network(_tensor(network, batch.inputs_TB), state)
        yield logits, batch.targets_TB, batch.positions_TB


def fixed_window_loss(
    network: Network, text: HeldOutText, vocabulary: Vocabulary, *, workers: Workers | None = None
) -> LossTotal:
    """Return the summed loss over windows of `FIXED_WINDOW` tokens, each from the initial state.

    The first input of a window is the token before it. Lines, documents and pieces of a stream are split separately.

    Args:
        network: on its device.
        text: the held-out text.
        workers: threads among which the windows are divided; by default, only the calling thread.
    """
    ids = text.tokens
    context = np.concatenate([[vocabulary.boundary_id], ids])
    context[text.offsets] = text.tokens_before(text.starts)
    unit_starts = text.offsets
    if text.unit != "stream":
        unit_starts = np.flatnonzero(context[:-1] == vocabulary.boundary_id)
    if text.unit_labels is not None:
        unit_lengths = np.diff(np.append(unit_starts, len(ids)))
        context[:-1] = with_labels(context[:-1], np.repeat(text.unit_labels, unit_lengths), len(vocabulary))
    unit_ends = np.append(unit_starts[1:], len(ids))
    starts = np.concatenate(
        [np.arange(first, end, FIXED_WINDOW) for first, end in zip(unit_starts, unit_ends, strict=True)]
    )
    lengths = np.minimum(np.append(starts[1:], len(ids)) - starts, FIXED_WINDOW)
    by_length = np.argsort(lengths, kind="stable")
    at_once = MAX_LOGITS[network.device.type] // (FIXED_WINDOW * network.architecture.vocab_size)
    batch_size = max(1, min(FIXED_WINDOW_BATCH_SIZE, at_once))

    @torch.no_grad()
    def loss_of(windows: IdArray) -> LossTotal:
        times = np.arange(int(lengths[windows].max()))[:, None]
        positions = np.minimum(starts[windows] + times, len(ids) - 1)
        targets = np.where(times < lengths[windows], ids[positions], IGNORED)
        logits, _ = network(_tensor(network, context[positions]), network.initial_state(len(windows)))
        return _summed(_log_probs(network, logits, targets))

    batches = [by_length[first : first + batch_size] for first in range(0, len(starts), batch_size)]
    return sum((workers or Workers()).run([partial(loss_of, windows) for windows in batches]), LossTotal())


def _log_probs(network: Network, logits: Tensor, targets: IdArray) -> LogProbs:
    """Return the log probabilities of the targets that are not padding, in nats."""
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(), _tensor(network, targets).flatten(), reduction="none", ignore_index=IGNORED
    )
    log_probs: LogProbs = -losses.cpu().numpy()[targets.ravel() != IGNORED]
    return log_probs


def _chunk_length(network: Network, num_rows: int) -> int:
    at_once = MAX_LOGITS[network.device.type] // (num_rows * network.architecture.vocab_size)
    return int(np.clip(at_once, 1, MAX_CHUNK_LENGTH))


def _with_initial_first_row(state: NetworkState, initial: NetworkState) -> NetworkState:
    """Replace the state of the first row, which no text precedes, by the initial state."""
    return tuple(
        tuple(torch.cat((fresh.to(part.dtype), part[1:])) for part, fresh in zip(layer, initial_layer, strict=True))
        for layer, initial_layer in zip(state, initial, strict=True)
    )


def _tensor(network: Network, array: IdArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(network.device)
