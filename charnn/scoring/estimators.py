"""Estimators of token probabilities: a network, one interpolated with its n-gram model, or several models.

An estimator makes readers; a reader reads B texts from left to right (those of a backward model are reversed before) and keeps
their state. `cache` adds one more, and dynamic evaluation, which needs torch, is another.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from charnn.inference.engine import Engine, EngineState, IdArray, log_softmax, target_log_probs
from charnn.inference.numpy_steppers import is_fused
from charnn.inference.stepper import Stepper, stepper_for
from charnn.ngrams.mixture import Mixture, mixed

Floats = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]

FEWEST_UNITS = 64
"""From this number of units per layer on, a step is long enough for threads not to wait for Python's lock most of the time."""


class Estimate(NamedTuple):
    """Log probabilities of T tokens of B texts, in nats.

    Args:
        log_probs_TB: of the targets.
        log_probs_TBV: of every token of the vocabulary, where requested.
    """

    log_probs_TB: Floats
    log_probs_TBV: Floats | None


class Reader(Protocol):
    """Reads a batch of B texts."""

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """Read on.

        Args:
            contexts_TB: the tokens read, the boundary first.
            targets_TB: the tokens that follow each.
            whole: whether to return the whole distributions.
        """
        ...

    def repeated(self, num_streams: int) -> "Reader":
        """Return a reader of B texts that go on from the state of this one's only text."""
        ...


class Estimator(Protocol):
    """Gives probabilities.

    Args:
        vocab_size: tokens in the vocabulary.
        is_backward: whether it reads texts from right to left.
        is_sequential: whether it adapts to what it reads, so that texts must be read in order.
        runs_in_threads: whether several of its readers may read at the same time.
    """

    vocab_size: int
    is_backward: bool
    is_sequential: bool
    runs_in_threads: bool

    def new_reader(self, num_streams: int) -> Reader:
        """Return a reader of B texts in its initial state."""
        ...


class NetworkEstimator:
    """A network on its own.

    Args:
        engine: runs it.
        temperature: what its logits are divided by.
    """

    is_sequential = False

    def __init__(self, engine: Engine, temperature: float = 1.0) -> None:
        self.engine = engine
        self.temperature = temperature
        self.vocab_size = engine.architecture.vocab_size
        self.is_backward = engine.is_backward
        num_units = max(engine.architecture.layer_sizes(layer)[1] for layer in range(engine.architecture.num_layers))
        self.runs_in_threads = engine.xp is np and num_units >= FEWEST_UNITS
        self._stepper: Stepper | None = None
        if engine.xp is np and is_fused(engine.architecture):
            self._stepper = stepper_for(engine, engine.initial_state())

    def new_reader(self, num_streams: int) -> Reader:
        """See `Estimator`."""
        if self._stepper is not None:
            stepper = self._stepper.fork(self.engine.initial_state(num_streams), num_streams)
            return _SteppingReader(self, stepper)
        return _NetworkReader(self, self.engine.initial_state(num_streams))


class _SteppingReader:
    """Reads token by token: for the cells that have a stepper of their own, quicker than layer by layer."""

    def __init__(self, estimator: NetworkEstimator, stepper: Stepper) -> None:
        self._estimator = estimator
        self._stepper, self._temperature, self._vocab_size = stepper, estimator.temperature, estimator.vocab_size

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """See `Reader`."""
        logits_TBV = np.empty((*contexts_TB.shape, self._vocab_size), dtype=np.float32)
        for time, ids_B in enumerate(contexts_TB):
            logits_TBV[time] = self._stepper.step(ids_B)
        return estimate_of(at_temperature(logits_TBV, self._temperature), targets_TB, whole=whole)

    def repeated(self, num_streams: int) -> Reader:
        """See `Reader`."""
        return _SteppingReader(self._estimator, self._stepper.fork(self._stepper.state(), num_streams))


class _NetworkReader:
    """Reads layer by layer."""

    def __init__(self, estimator: NetworkEstimator, state: EngineState) -> None:
        self._estimator = estimator
        self._engine, self._temperature, self._state = estimator.engine, estimator.temperature, state

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """See `Reader`."""
        outputs_TBH, self._state = self._engine.forward(contexts_TB, self._state)
        return estimate_of(at_temperature(self._engine.logits(outputs_TBH), self._temperature), targets_TB, whole=whole)

    def repeated(self, num_streams: int) -> Reader:
        """See `Reader`."""
        rows = [0] * num_streams
        return _NetworkReader(self._estimator, tuple(tuple(part[rows] for part in layer) for layer in self._state))


def at_temperature(logits: Logits, temperature: float) -> Logits:
    """Return logits divided by a temperature."""
    return logits if temperature == 1 else np.asarray(logits / np.float32(temperature))


def estimate_of(logits_TBV: Logits, targets_TB: IdArray, *, whole: bool) -> Estimate:
    """Return the estimate by logits."""
    if not whole:
        return Estimate(target_log_probs(logits_TBV, targets_TB), None)
    log_probs_TBV = log_softmax(logits_TBV)
    return Estimate(of_targets(log_probs_TBV, targets_TB), log_probs_TBV)


def of_targets(log_probs_TBV: Floats, targets_TB: IdArray) -> Floats:
    """Return the log probabilities (T, B) of the targets."""
    return np.asarray(np.take_along_axis(log_probs_TBV, targets_TB[..., None], axis=-1)[..., 0])


class CheckingEstimator:
    """Another estimator, which calls a function before it reads on; its readers stay in their caller's thread.

    Args:
        inner: gives the probabilities.
        check: may raise an error, if the result is no longer needed.

    Example:
        >>> charnn.api.CheckingEstimator(estimator, check=lambda: None).runs_in_threads
        False
    """

    runs_in_threads = False

    def __init__(self, inner: Estimator, check: Callable[[], object]) -> None:
        self.inner, self.check = inner, check
        self.vocab_size, self.is_backward, self.is_sequential = inner.vocab_size, inner.is_backward, inner.is_sequential

    def new_reader(self, num_streams: int) -> Reader:
        """See `Estimator`."""
        return _CheckingReader(self.inner.new_reader(num_streams), self.check)


class _CheckingReader:
    def __init__(self, inner: Reader, check: Callable[[], object]) -> None:
        self._inner, self._check = inner, check

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """See `Reader`."""
        self._check()
        return self._inner.read(contexts_TB, targets_TB, whole=whole)

    def repeated(self, num_streams: int) -> Reader:
        """See `Reader`."""
        return _CheckingReader(self._inner.repeated(num_streams), self._check)


class MixedEstimator:
    """Another estimator, interpolated with an n-gram model.

    Args:
        inner: the network.
        mixture: the n-gram model and the weights.
        boundary_id: what ends an n-gram's context, for models of lines and documents; None for running text.
    """

    def __init__(self, inner: Estimator, mixture: Mixture, *, boundary_id: int | None) -> None:
        self.inner, self.mixture, self.boundary_id = inner, mixture, boundary_id
        self.vocab_size, self.is_backward = inner.vocab_size, inner.is_backward
        self.is_sequential, self.runs_in_threads = inner.is_sequential, inner.runs_in_threads

    def new_reader(self, num_streams: int) -> Reader:
        """See `Estimator`."""
        return _MixedReader(self, self.inner.new_reader(num_streams), num_streams)


class _MixedReader:
    def __init__(self, estimator: MixedEstimator, inner: Reader, num_streams: int) -> None:
        self._estimator = estimator
        self._inner, self._mixture, self._boundary_id = inner, estimator.mixture, estimator.boundary_id
        self._before_NB: IdArray = np.zeros((0, num_streams), dtype=np.int64)

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """See `Reader`."""
        if self._boundary_id is not None and (contexts_TB[0] == self._boundary_id).all():
            self._before_NB = self._before_NB[:0]
        network = self._inner.read(contexts_TB, targets_TB, whole=True).log_probs_TBV
        assert network is not None
        contexts, ngrams = np.concatenate((self._before_NB, contexts_TB)), self._mixture.ngrams
        probs_TBV, matched_TB = ngrams.distributions(ngrams.histories(contexts)[len(self._before_NB) :])
        self._before_NB = contexts[len(contexts) - min(len(contexts), ngrams.order - 1) :]
        log_probs_TBV = mixed(network, np.log(probs_TBV), self._mixture.weights[matched_TB])
        return Estimate(of_targets(log_probs_TBV, targets_TB), log_probs_TBV if whole else None)

    def repeated(self, num_streams: int) -> Reader:
        """See `Reader`."""
        other = _MixedReader(self._estimator, self._inner.repeated(num_streams), num_streams)
        other._before_NB = np.repeat(self._before_NB, num_streams, axis=1)
        return other


class Interpolation:
    """The mean of several models' probabilities, over one vocabulary.

    Args:
        inner: the models.
        weights: the weight of each; they sum to 1.
    """

    def __init__(self, inner: Sequence[Estimator], weights: Sequence[float]) -> None:
        self.inner = inner
        self.log_weights = [math.log(weight) if weight else -math.inf for weight in weights]
        self.vocab_size, self.is_backward = inner[0].vocab_size, inner[0].is_backward
        self.is_sequential = any(each.is_sequential for each in inner)
        self.runs_in_threads = all(each.runs_in_threads for each in inner)

    def new_reader(self, num_streams: int) -> Reader:
        """See `Estimator`."""
        return _InterpolatingReader([each.new_reader(num_streams) for each in self.inner], self.log_weights)


class _InterpolatingReader:
    def __init__(self, readers: Sequence[Reader], log_weights: Sequence[float]) -> None:
        self._readers, self._log_weights = readers, log_weights

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """See `Reader`."""
        estimates = [reader.read(contexts_TB, targets_TB, whole=whole) for reader in self._readers]
        log_probs = _log_mean([each.log_probs_TB for each in estimates], self._log_weights)
        wholes = [each.log_probs_TBV for each in estimates if each.log_probs_TBV is not None]
        return Estimate(log_probs, _log_mean(wholes, self._log_weights) if whole else None)

    def repeated(self, num_streams: int) -> Reader:
        """See `Reader`."""
        return _InterpolatingReader([each.repeated(num_streams) for each in self._readers], self._log_weights)


def _log_mean(log_probs: Sequence[Floats], log_weights: Sequence[float]) -> Floats:
    """Return the logarithm of a weighted mean of probabilities."""
    total = log_probs[0] + log_weights[0]
    for each, log_weight in zip(log_probs[1:], log_weights[1:], strict=True):
        total = np.logaddexp(total, each + log_weight)
    return np.asarray(total)
