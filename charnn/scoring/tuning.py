"""Parameters fitted to held-out text: a temperature, the mixture weights of several models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.errors import ModelError
from charnn.inference.engine import Engine, IdArray, target_log_probs
from charnn.optimize import fit_mixture_weights, fit_temperature
from charnn.storage.encoded_text import check_encoded
from charnn.storage.model_directory import Model
from charnn.text.corpus import open_ids
from charnn.text.stored_ids import positions_of

Floats = npt.NDArray[np.float64]

MOST_TOKENS = 10_000
"""Tokens of the held-out text that are looked at, in whole units."""
NUM_PIECES = 4
"""Pieces of a stream that is many times as long; of a shorter one, the beginning is read, without a break."""
MOST_LOGITS = 1 << 24
MAX_EM_ITERATIONS, EM_TOLERANCE = 2000, 1e-7
TOKENS_AT_ONCE = 256


@dataclass(frozen=True)
class HeldOut:
    """A part of a text that a model was not trained on.

    Args:
        units: contexts (T, 1) and targets (T, 1) of each, the boundary first among the contexts.
    """

    units: Sequence[tuple[IdArray, IdArray]]


def read_held_out(model: Model, *, purpose: str, max_tokens: int = MOST_TOKENS) -> HeldOut:
    """Read pieces of a model's own held-out text, spread over it if it is long.

    Args:
        purpose: the option that wants it, for messages.

    Raises:
        ModelError: where the directory has none.
    """
    file = model.path / "valid.bin"
    if not file.exists() or not file.stat().st_size:
        reason = "is missing" if not file.exists() else "is empty: nothing was held out"
        raise ModelError(
            f"{file}: {reason}, but {purpose} is fitted on the held-out text; give the numbers yourself, or leave it out"
        )
    check_encoded(model, "valid")
    vocabulary, unit = model.tokenizer.vocabulary, model.tokenizer.unit
    ids = open_ids(file, model.tokenizer)
    units = []
    for first, end in _pieces(ids, vocabulary.boundary_id, unit, max_tokens):
        targets = np.asarray(ids[first:end]).astype(np.int64)
        before = int(ids[first - 1]) if first else vocabulary.boundary_id
        units.append((np.concatenate(([before], targets[:-1]))[:, None], targets[:, None]))
    return HeldOut(units)


def _pieces(ids: npt.NDArray[np.integer], boundary_id: int, unit: str, max_tokens: int) -> list[tuple[int, int]]:
    """Return the bounds of a text, or of evenly spaced pieces of a long one: whole units, or a few long parts of a stream."""
    if unit == "stream":
        if len(ids) <= NUM_PIECES * max_tokens:
            return [(0, min(max_tokens, len(ids)))]
        length = max_tokens // NUM_PIECES
        starts = np.arange(NUM_PIECES) * (len(ids) - length) // (NUM_PIECES - 1)
        return [(start, start + length) for start in starts.tolist()]
    ends = positions_of(ids, boundary_id).astype(np.int64) + 1
    if not len(ends):
        return [(0, min(max_tokens, len(ids)))]
    bounds = np.concatenate(([0], ends))
    number = max(1, min(len(ends), int(len(ends) * max_tokens / len(ids))))
    chosen = (2 * np.arange(number) + 1) * len(ends) // (2 * number)
    return list(zip(bounds[chosen].tolist(), bounds[chosen + 1].tolist(), strict=True))


def fit_engine_temperature(engine: Engine, held_out: HeldOut) -> float:
    """Return the temperature at which a held-out text is most probable (see `charnn.optimize.fit_temperature`)."""
    stored, num_logits = [], 0
    for logits_NV, targets_N in _logits(engine, held_out):
        stored.append((logits_NV, targets_N))
        num_logits += logits_NV.size
        if num_logits >= MOST_LOGITS:
            break

    def loss_at(temperature: float) -> float:
        return -sum(
            float(target_log_probs(logits / np.float32(temperature), targets).sum()) for logits, targets in stored
        )

    return fit_temperature(loss_at)


def _logits(engine: Engine, held_out: HeldOut) -> Iterator[tuple[npt.NDArray[np.float32], IdArray]]:
    for contexts_T1, targets_T1 in held_out.units:
        state = engine.initial_state()
        for first in range(0, len(contexts_T1), TOKENS_AT_ONCE):
            outputs_TBH, state = engine.forward(contexts_T1[first : first + TOKENS_AT_ONCE], state)
            yield engine.logits(outputs_TBH[:, 0]), targets_T1[first : first + TOKENS_AT_ONCE, 0]


def fit_interpolation_weights(log_probs_KN: Floats) -> list[float]:
    """Return the weights (K,) with which K models' probabilities are interpolated to make a text most probable.

    Args:
        log_probs_KN: what each gives to each token, in nats.
    """
    probs_KN = np.exp(log_probs_KN - log_probs_KN.max(axis=0))
    weights_K = fit_mixture_weights(
        np.full(len(probs_KN), 1 / len(probs_KN)),
        list(probs_KN),
        expand=list,
        maximize=lambda _, posteriors: np.array([posterior_N.mean() for posterior_N in posteriors]),
        max_iterations=MAX_EM_ITERATIONS,
        has_converged=lambda before_K, after_K: bool(np.abs(after_K - before_K).max() < EM_TOLERANCE),
    )
    return [float(weight) for weight in weights_K]
