"""Exposure bias: losses after generated context and after the reference text, by distance.

A model is trained on reference tokens only and generates after its own, so that errors may accumulate. From many positions of a
text the model generates some tokens, whose losses are compared with those of the reference continuation.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.errors import TextError
from charnn.inference.engine import Engine, EngineState, log_softmax
from charnn.inference.stepper import stepper_for
from charnn.ngrams.kneser_ney import NgramModel
from charnn.randomness import draw_rows

NUM_ROLLOUTS = 256
CONTEXT = 128
"""True tokens read before each rollout."""
SEED = 1

Nats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rollouts:
    """Mean losses in nats a token, at each distance from the true context, the first token being at 1 (N,).

    Args:
        true: the true tokens, after true ones: what validation measures.
        true_after_own: the true tokens, after the model's own.
        own: the model's own tokens under itself, after its own.
        judged_own: the model's own tokens under its n-gram model, or None without one.
        judged_true: the true tokens under the n-gram model.
        num_rollouts: positions that each mean is over.
    """

    true: Nats
    true_after_own: Nats
    own: Nats
    judged_own: Nats | None
    judged_true: Nats | None
    num_rollouts: int


def roll_out(
    engine: Engine, ids: npt.NDArray[np.int64], *, length: int, ngrams: NgramModel | None, seed: int = SEED
) -> Rollouts:
    """Generate from evenly spaced positions of a text.

    Args:
        ids: the text after its opening boundary (N,).
        length: tokens to generate from each position.
        ngrams: an n-gram model of the same vocabulary.
        seed: that of the draws.

    Raises:
        TextError: where the text is too short.

    Source: Bengio et al. (2015) for the gap; scoring by another model, after Caccia et al. (2020), Language GANs falling
        short.

    Example:
        >>> engine = charnn.api.Engine.of(model.models[0])
        >>> ids = model.tokenizer.encode(Path("test.txt").read_text())
        >>> charnn.api.roll_out(engine, ids, length=20, ngrams=None).true_after_own
    """
    context = min(CONTEXT, len(ids) - length)
    if context < 1:
        raise TextError(
            f"--rollout: found {length:,} tokens to write, but the text has only {len(ids):,}; "
            "write fewer, or give a longer text"
        )
    ids = ids[::-1] if engine.is_backward else ids
    num_positions = min(NUM_ROLLOUTS, len(ids) - context - length + 1)
    starts = np.linspace(0, len(ids) - context - length, num_positions).astype(np.int64)
    text_TB = ids[starts + np.arange(context + length)[:, None]]
    before_TB, true_TB = text_TB[:context], text_TB[context:]
    outputs, state = engine.forward(before_TB, engine.initial_state(num_positions))
    first = log_softmax(engine.logits(outputs[-1]))
    true = _read_on(engine, first, state, true_TB)
    own_TB, true_after_own, own = _write_on(engine, first, state, true_TB, np.random.default_rng(seed))
    return Rollouts(
        _means(true),
        _means(true_after_own),
        _means(own),
        _means(_ngram_log_probs(ngrams, before_TB, own_TB)) if ngrams else None,
        _means(_ngram_log_probs(ngrams, before_TB, true_TB)) if ngrams else None,
        num_positions,
    )


def _means(log_probs_TB: Nats) -> Nats:
    return np.asarray(-log_probs_TB.mean(axis=1))


def _read_on(engine: Engine, log_probs_BV: Nats, state: EngineState, ids_TB: npt.NDArray[np.int64]) -> Nats:
    """Return log P of given tokens, each after those before it (T, B)."""
    found = []
    stepper = stepper_for(engine, state)
    for row in ids_TB:
        found.append(_log_probs_of(log_probs_BV, row))
        log_probs_BV = log_softmax(stepper.step(row))
    return np.array(found)


def _write_on(
    engine: Engine, log_probs_BV: Nats, state: EngineState, true_TB: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Nats, Nats]:
    """Draw as many tokens; return them, log P of the true ones at their positions, and of themselves (T, B)."""
    drawn, of_true, of_own = [], [], []
    stepper = stepper_for(engine, state)
    for row in true_TB:
        cumulative = np.cumsum(np.exp(log_probs_BV), axis=1)
        own = draw_rows(cumulative, random.random(len(row)), np)
        drawn.append(own)
        of_true.append(_log_probs_of(log_probs_BV, row))
        of_own.append(_log_probs_of(log_probs_BV, own))
        log_probs_BV = log_softmax(stepper.step(own))
    return np.array(drawn), np.array(of_true), np.array(of_own)


def _log_probs_of(log_probs_BV: Nats, ids_B: npt.NDArray[np.int64]) -> Nats:
    return np.asarray(np.take_along_axis(log_probs_BV, ids_B[:, None], axis=1)[:, 0])


def _ngram_log_probs(ngrams: NgramModel, before_TB: npt.NDArray[np.int64], ids_TB: npt.NDArray[np.int64]) -> Nats:
    """Return an n-gram model's log P of tokens that follow others (T, B)."""
    whole = np.concatenate((before_TB, ids_TB))
    probs = ngrams.read(whole[:-1], whole[1:]).probs
    return np.asarray(np.log(probs[len(before_TB) - 1 :]))


def bands(length: int) -> list[tuple[int, int]]:
    """Return distances in bands that grow fourfold: 1, 2 to 4, 5 to 16, ... up to `length`.

    Example:
        >>> charnn.api.bands(20)
        [(1, 1), (2, 4), (5, 16), (17, 20)]
    """
    found, low, high = [], 1, 1
    while low <= length:
        found.append((low, min(high, length)))
        low, high = high + 1, high * 4
    return found
