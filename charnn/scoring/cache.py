"""The continuous cache: it raises the probability of tokens that followed similar hidden states earlier in the text.

p_cache(w) is proportional to the sum, over the last W positions whose next token was w, of exp(sharpness h . h'), h being the
network's output now and h' its output at that position; p = (1 - weight) p_network + weight p_cache.

Source: Grave, Joulin and Usunier (2017), Improving neural language models with a continuous cache.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.inference.engine import Engine, EngineState, IdArray
from charnn.optimize import golden_section_minimize
from charnn.scoring.estimators import Estimate, Floats, at_temperature, estimate_of, of_targets
from charnn.scoring.tuning import HeldOut

SHARPNESSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
MOST_WEIGHT, WEIGHT_TOLERANCE = 0.999, 1e-4
CHUNK_LENGTH = 256

Outputs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CacheSettings:
    """How a cache works.

    Args:
        size: positions that it stores.
        weight: its weight in the interpolation.
        sharpness: the factor of the similarities.
    """

    size: int
    weight: float
    sharpness: float


class CachedEstimator:
    """A network with a cache that is kept from one text to the next."""

    is_sequential = True
    runs_in_threads = False

    def __init__(self, engine: Engine, settings: CacheSettings, temperature: float = 1.0) -> None:
        self.engine, self.settings, self.temperature = engine, settings, temperature
        self.vocab_size, self.is_backward = engine.architecture.vocab_size, engine.is_backward
        self.memory = _Memory(engine.architecture.output_size, settings.size)

    def new_reader(self, num_streams: int) -> "_CachedReader":
        """See `Estimator`; a reader of one text that continues with the cache of all readers before it."""
        if num_streams != 1:
            raise ValueError("a cache is of one text")
        return _CachedReader(self, self.engine.initial_state())


class _Memory:
    """The last outputs (N, H) and the tokens that followed them (N,)."""

    def __init__(self, output_size: int, size: int) -> None:
        self.size = size
        self.outputs_NH = np.zeros((0, output_size), dtype=np.float32)
        self.followers_N: IdArray = np.zeros(0, dtype=np.int64)

    def keep(self, outputs_NH: Outputs, followers_N: IdArray) -> None:
        """Keep the last `size` of these."""
        self.outputs_NH, self.followers_N = outputs_NH[-self.size :].copy(), followers_N[-self.size :].copy()


class _CachedReader:
    def __init__(self, estimator: CachedEstimator, state: EngineState) -> None:
        self._estimator, self._state = estimator, state

    def read(self, contexts_TB: IdArray, targets_TB: IdArray, *, whole: bool) -> Estimate:
        """See `charnn.scoring.estimators.Reader`."""
        estimator, settings, memory = self._estimator, self._estimator.settings, self._estimator.memory
        outputs_TBH, self._state = estimator.engine.forward(contexts_TB, self._state)
        logits = at_temperature(estimator.engine.logits(outputs_TBH), estimator.temperature)
        network = estimate_of(logits, targets_TB, whole=whole)
        outputs_NH = np.concatenate((memory.outputs_NH, outputs_TBH[:, 0]))
        followers_N = np.concatenate((memory.followers_N, targets_TB[:, 0]))
        weights_TN = _cache_weights(outputs_NH, len(targets_TB), settings.size, settings.sharpness)
        memory.keep(outputs_NH, followers_N)
        weight_T1 = np.where(weights_TN.any(axis=1, keepdims=True), settings.weight, 0.0)
        if network.log_probs_TBV is None:
            cached_T1 = (weights_TN * (followers_N == targets_TB)).sum(axis=1, keepdims=True)
            return Estimate(_mixed(network.log_probs_TB, cached_T1, weight_T1), None)
        cached_TBV = np.zeros_like(network.log_probs_TBV)
        for time, weights_N in enumerate(weights_TN):
            cached_TBV[time, 0] = np.bincount(followers_N, weights_N, minlength=estimator.vocab_size)
        log_probs_TBV = _mixed(network.log_probs_TBV, cached_TBV, weight_T1[..., None])
        return Estimate(of_targets(log_probs_TBV, targets_TB), log_probs_TBV)

    def repeated(self, num_streams: int) -> "_CachedReader":
        """Refuse: see `new_reader`."""
        raise ValueError(f"a cache is of one text, not of {num_streams}")


def _mixed(network_log_probs: Floats, cache_probs: Floats, weight: Floats) -> Floats:
    return np.asarray(np.log((1 - weight) * np.exp(network_log_probs) + weight * cache_probs))


def _similarities(outputs_NH: Outputs, num_now: int, size: int) -> Floats:
    """Return the products of the last T of N outputs with those before each, -inf where the cache does not reach (T, N)."""
    num_all = len(outputs_NH)
    now = np.arange(num_all - num_now, num_all)[:, None]
    positions = np.arange(num_all)
    reached = (positions < now) & (positions >= now - size)
    products = (outputs_NH[num_all - num_now :] @ outputs_NH.T).astype(np.float64)
    return np.where(reached, products, -np.inf)


def _cache_weights(outputs_NH: Outputs, num_now: int, size: int, sharpness: float) -> Floats:
    """Return the weight of each earlier position at the last T positions (T, N), all 0 where the cache is empty."""
    return _softmax(_similarities(outputs_NH, num_now, size), sharpness)


def _softmax(similarities_TN: Floats, sharpness: float) -> Floats:
    is_reached = np.isfinite(similarities_TN)
    scaled = np.where(is_reached, similarities_TN, 0.0) * sharpness
    most = np.max(scaled, axis=1, keepdims=True, where=is_reached, initial=-math.inf)
    weights = np.where(is_reached, np.exp(scaled - np.where(np.isfinite(most), most, 0.0)), 0.0)
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))


def fit_cache(
    engine: Engine, held_out: HeldOut, *, size: int, temperature: float, weight: float | None, sharpness: float | None
) -> CacheSettings:
    """Fit the settings that are None, so that a cache of this size makes a held-out text most probable.

    The sharpness is one of `SHARPNESSES`; the best weight is fitted for each.
    """
    outputs, network = [], []
    for contexts_T1, targets_T1 in held_out.units:
        state = engine.initial_state()
        for first in range(0, len(contexts_T1), CHUNK_LENGTH):
            chunk = slice(first, first + CHUNK_LENGTH)
            outputs_TBH, state = engine.forward(contexts_T1[chunk], state)
            logits = at_temperature(engine.logits(outputs_TBH), temperature)
            network.append(estimate_of(logits, targets_T1[chunk], whole=False).log_probs_TB[:, 0])
            outputs.append(outputs_TBH[:, 0])
    outputs_NH, network_probs = np.concatenate(outputs), np.exp(np.concatenate(network))
    followers_N = np.concatenate([targets[:, 0] for _, targets in held_out.units])
    candidates = SHARPNESSES if sharpness is None else (sharpness,)
    cached = _cached_probs(outputs_NH, followers_N, size, candidates)
    best = (math.inf, CacheSettings(size, 0.0, 0.0))
    for each, probs in zip(candidates, cached, strict=True):
        probs[0] = network_probs[0]  # nothing is in the cache yet, so it has no weight
        loss_at = functools.partial(_loss, network_probs, probs)
        fitted = weight
        if fitted is None:
            fitted = golden_section_minimize(loss_at, 0.0, MOST_WEIGHT, tolerance=WEIGHT_TOLERANCE)
        best = min(best, (loss_at(fitted), CacheSettings(size, fitted, each)), key=lambda found: found[0])
    return best[1]


def _loss(network_probs: Floats, cache_probs: Floats, weight: float) -> float:
    return -float(np.log((1 - weight) * network_probs + weight * cache_probs).sum())


def _cached_probs(outputs_NH: Outputs, followers_N: IdArray, size: int, sharpnesses: tuple[float, ...]) -> list[Floats]:
    """Return the cache probability of each token of a text (N,), for each sharpness."""
    found: list[list[Floats]] = [[] for _ in sharpnesses]
    for first in range(0, len(outputs_NH), CHUNK_LENGTH):
        last = min(first + CHUNK_LENGTH, len(outputs_NH))
        begin = max(0, first - size)
        similarities = _similarities(outputs_NH[begin:last], last - first, size)
        is_next = followers_N[begin:last] == followers_N[first:last, None]
        for number, sharpness in enumerate(sharpnesses):
            found[number].append((_softmax(similarities, sharpness) * is_next).sum(axis=1))
    return [np.concatenate(parts) for parts in found]
