"""Dynamic evaluation: a network is trained on each segment of a text once it is scored.

theta += decay D (theta_0 - theta) - rate g / (MS + epsilon), elementwise: g is the gradient of the segment's loss, MS the root
mean square of gradients over segments of the training text, and D = MS / mean(MS), at most 1 / decay.

Source: Krause et al. (2018), Dynamic evaluation of neural sequence models.
Of the tables of n-grams and words, the rows that a segment looks up are updated by the same equation, at `TABLE_RATE` times the
rate: MS is one number, over all rows that were looked up. Learned initial states stay as they are.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from charnn.inference.engine import IdArray
from charnn.scoring.estimators import Estimate, at_temperature, estimate_of
from charnn.scoring.tuning import HeldOut
from charnn.storage.model_directory import Model
from charnn.training.network.network import Network, NetworkState, detached
from charnn.training.parallel.workers import one_torch_thread

RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
DECAYS = (0.0, 1e-3, 3e-3, 1e-2, 3e-2)
EPSILON_FRACTION = 0.05
"""Epsilon, as a fraction of the mean of MS."""
SEGMENTS_MEASURED = 300
TABLE_RATE = 7.0
"""The learning rate of rows of tables, relative to that of other weights."""


@dataclass(frozen=True)
class DynamicSettings:
    """Hyperparameters of dynamic evaluation.

    Args:
        segment: tokens that are scored before each update of the weights.
        rate, decay: see the equation above.
    """

    segment: int
    rate: float
    decay: float


class DynamicEstimator:
    """A network that is trained on the text it reads; the updates are kept from one text to the next.

    Args:
        network: see `network_of`.
        scales: MS of each weight that is updated (see `gradient_scales`).
    """

    is_sequential = True
    runs_in_threads = False

    def __init__(
        self,
        network: Network,
        settings: DynamicSettings,
        scales: dict[str, Tensor],
        *,
        vocab_size: int,
        is_backward: bool,
        temperature: float = 1.0,
    ) -> None:
        self.network, self.temperature = network, temperature
        self.vocab_size, self.is_backward = vocab_size, is_backward
        self.scales = scales
        self._weights = adapted_weights(network)
        self._tables = _sparse_tables(network)
        self._trained_weights = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._reader: _DynamicReader | None = None
        self._set_rates(settings)

    def _set_rates(self, settings: DynamicSettings) -> None:
        self.settings = settings
        self._rates, self._decays = {}, {}
        for name, scale in self.scales.items():
            mean = float(scale.mean()) or 1.0
            rate = settings.rate * (TABLE_RATE if name in self._tables else 1.0)
            self._rates[name] = rate / (scale + EPSILON_FRACTION * mean)
            most = 1 / settings.decay if settings.decay else math.inf
            self._decays[name] = settings.decay * (scale / mean).clamp(max=most)

    def reset(self, settings: DynamicSettings) -> None:
        """Restore the trained weights and set other hyperparameters."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self._trained_weights[name])
        self._reader = None
        self._set_rates(settings)

    def new_reader(self, num_streams: int) -> "_DynamicReader":
        """See `charnn.scoring.estimators.Estimator`; a reader of one text; earlier texts have updated the weights."""
        if num_streams != 1:
            raise ValueError("a network learns from one text at a time")
        if self._reader is not None:
            self._reader.finish()
        self._reader = _DynamicReader(self)
        return self._reader

    def learn(self, loss: Tensor) -> None:
        """Update the weights after a segment."""
        names = list(self._weights)
        gradients = torch.autograd.grad(loss, [self._weights[name] for name in names])
        with torch.no_grad():
            for name, gradient in zip(names, gradients, strict=True):
                weight = self._weights[name]
                if name in self._tables:
                    self._learn_rows(name, gradient.coalesce())
                    continue
                if self.settings.decay:
                    weight.addcmul_(self._trained_weights[name] - weight, self._decays[name])
                weight.addcmul_(gradient, self._rates[name], value=-1)

    def _learn_rows(self, name: str, gradient: Tensor) -> None:
        """Update the rows of a table that were looked up.

        Args:
            gradient: sparse, with distinct rows.
        """
        rows, weight = gradient.indices()[0], self._weights[name]
        values = weight.index_select(0, rows)
        values += self._decays[name] * (self._trained_weights[name].index_select(0, rows) - values)
        weight.index_copy_(0, rows, values - self._rates[name] * gradient.values())


class _DynamicReader:
    """Reads a text in segments, independent of the chunks it is given in."""

    def __init__(self, estimator: DynamicEstimator) -> None:
        self._estimator = estimator
        self._state = estimator.network.initial_state(1)
        self._loss: Tensor | None = None
        self._num_unlearned = 0

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """See `charnn.scoring.estimators.Reader`."""
        with (
            one_torch_thread()
        ):  # several would wait for each other on a busy machine, at each of many short operations
            return self._read(contexts_TB, targets_TB, whole=whole)

    def repeated(self, num_streams: int) -> "_DynamicReader":
        """Refuse: see `new_reader`."""
        raise ValueError(f"a network learns from one text at a time, not from {num_streams}")

    def _read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        estimator, first, estimates = self._estimator, 0, []
        while first < len(contexts_TB):
            part = slice(first, first + estimator.settings.segment - self._num_unlearned)
            loss, logits, self._state = _read_segment(
                estimator.network, contexts_TB[part], targets_TB[part], self._state, estimator.temperature
            )
            logits_TBV = at_temperature(logits.detach().numpy(), estimator.temperature)
            estimates.append(estimate_of(logits_TBV, targets_TB[part], whole=whole))
            self._loss = loss if self._loss is None else self._loss + loss
            self._num_unlearned += len(logits)
            first += len(logits)
            if self._num_unlearned == estimator.settings.segment:
                self.finish()
        wholes = [estimate.log_probs_TBV for estimate in estimates if estimate.log_probs_TBV is not None]
        return Estimate(
            np.concatenate([estimate.log_probs_TB for estimate in estimates]), np.concatenate(wholes) if whole else None
        )

    def finish(self) -> None:
        """Update the weights from the tokens read since the last update."""
        if self._loss is not None:
            self._estimator.learn(self._loss / self._estimator.settings.segment)
            self._state = detached(self._state)
        self._loss, self._num_unlearned = None, 0


def network_of(model: Model) -> Network:
    """Return the network of a model read from disk: fp32, without dropout."""
    network = Network(model.architecture)
    network.load_arrays(model.weights)
    return network


def _read_segment(
    network: Network, contexts_TB: IdArray, targets_TB: IdArray, state: NetworkState, temperature: float
) -> tuple[Tensor, Tensor, NetworkState]:
    """Return the summed loss of a segment, its logits (T, B, V), and the state after it."""
    logits, state = network(torch.from_numpy(np.ascontiguousarray(contexts_TB)), state)
    targets = torch.from_numpy(np.ascontiguousarray(targets_TB)).flatten()
    loss = functional.cross_entropy(logits.flatten(0, 1) / temperature, targets, reduction="sum")
    return loss, logits, state


def adapted_weights(network: Network) -> dict[str, Tensor]:
    """Return the weights that are updated: all but learned initial states."""
    return {name: weight for name, weight in network.named_weights().items() if ".initial_" not in name}


def _sparse_tables(network: Network) -> set[str]:
    """Make the gradients of the tables of n-grams and words sparse, since a segment looks up few rows; return their names."""
    tables = set()
    for table in network.added_tables():
        table.sparse = True
        tables.add(id(table.weight))
    return {name for name, weight in network.named_weights().items() if id(weight) in tables}


def gradient_scales(network: Network, ids: IdArray, *, boundary_id: int, segment: int, seed: int) -> dict[str, Tensor]:
    """Return the root mean square of each weight's gradient, over segments from many positions of the training text.

    That of a table is a single number, over the rows that were looked up.

    Args:
        ids: the encoded text (N,).
        segment: tokens in each; as many before it are read first.
    """
    with one_torch_thread():
        return _gradient_scales(network, ids, boundary_id=boundary_id, segment=segment, seed=seed)


def _gradient_scales(network: Network, ids: IdArray, *, boundary_id: int, segment: int, seed: int) -> dict[str, Tensor]:
    weights = adapted_weights(network)
    tables = _sparse_tables(network)
    squares = {name: torch.zeros(() if name in tables else weight.shape) for name, weight in weights.items()}
    num_added = dict.fromkeys(weights, 0)
    positions = _positions(len(ids), segment, seed)
    for position in positions:
        state = network.initial_state(1)
        for first in (position - segment, position):
            part = np.asarray(ids[max(0, first) : first + segment]).astype(np.int64)[:, None]
            before = int(ids[first - 1]) if first > 0 else boundary_id
            contexts = np.concatenate(([[before]], part[:-1]))
            if len(part):
                loss, _, state = _read_segment(network, contexts, part, detached(state), 1.0)
        gradients = torch.autograd.grad(loss / segment, list(weights.values()))
        for name, gradient in zip(weights, gradients, strict=True):
            if name in tables:
                values = gradient.coalesce().values()
                squares[name] += values.square().sum()
                num_added[name] += values.numel()
            else:
                squares[name] += gradient.detach() ** 2
                num_added[name] += 1
    return {name: (square / num_added[name]).sqrt() for name, square in squares.items()}


def _positions(num_tokens: int, segment: int, seed: int) -> list[int]:
    last = max(segment, num_tokens - segment)
    drawn = np.random.default_rng(seed).integers(segment, last + 1, SEGMENTS_MEASURED)
    return sorted(int(position) for position in np.minimum(drawn, max(0, num_tokens - 1)))


def fit_rates(
    estimator: DynamicEstimator, held_out: HeldOut, *, rate: float | None, decay: float | None
) -> Iterator[tuple[DynamicSettings, float]]:
    """Yield settings and their mean loss in nats on a held-out text; the last one yielded is the best.

    The rate is fitted first, at the second of `DECAYS`, then the decay.
    """
    segment = estimator.settings.segment
    best: tuple[DynamicSettings, float] | None = None

    def try_all(candidates: Iterable[DynamicSettings]) -> Iterator[tuple[DynamicSettings, float]]:
        nonlocal best
        for settings in candidates:
            found = settings, _loss(estimator, settings, held_out)
            if best is None or found[1] < best[1]:
                best = found
            yield found

    first_decay = DECAYS[1] if decay is None else decay
    rates = RATES if rate is None else (rate,)
    yield from try_all(DynamicSettings(segment, each, first_decay) for each in rates)
    assert best is not None
    if decay is None:
        yield from try_all(DynamicSettings(segment, best[0].rate, each) for each in DECAYS if each != first_decay)
    yield best


def _loss(estimator: DynamicEstimator, settings: DynamicSettings, held_out: HeldOut) -> float:
    estimator.reset(settings)
    total, num_tokens = 0.0, 0
    for contexts_T1, targets_T1 in held_out.units:
        log_probs = estimator.new_reader(1).read(contexts_T1, targets_T1, whole=False).log_probs_TB
        total, num_tokens = total - float(log_probs.sum()), num_tokens + len(log_probs)
    return total / num_tokens
