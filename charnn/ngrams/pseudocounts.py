"""N-gram models of sequences with few symbols (DNA, proteins): plain counts, interpolated by pseudo-counts.

p(x | context) = (n(context x) + a p(x | shorter context)) / (n(context) + a), with one a for each order.

Kneser-Ney smoothing counts how many different tokens precede an n-gram. Of four bases nearly all precede every short one, so
that these numbers say nothing and its estimate of DNA is worse than two bits a base. Plain counts keep what is known.

Source: MacKay and Peto (1995), A hierarchical Dirichlet language model; the finite-context models of Pinho et al. (2011), On
the representability of complete genomes by multiple competing finite-context (Markov) models, are the same with a fixed a.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.ngrams.counting import Counts, Keys, NgramCounts, group_starts
from charnn.ngrams.kneser_ney import Floats, Level, NgramModel, contexts_of
from charnn.optimize import golden_section_minimize

MAX_SEQUENCE_NGRAMS = 12 << 20
"""Maximum number of distinct n-grams of the highest order: enough for both strands of a bacterial genome."""
KEPT_FRACTION = 0.5
"""An order is left out if it has more than this fraction of the n-grams of the highest: then nearly all contexts occur once, by
chance or in a repeat, and the highest order tells these apart."""
FITTED_NGRAMS = 1 << 18
LOG_BOUNDS, LOG_TOLERANCE = (-8.0, 16.0), 0.1
"""Bounds of the binary logarithm of a pseudo-count, and how exactly it is fitted."""
UNIGRAM_PSEUDOCOUNT = 1.0


class _Counted(NamedTuple):
    """The n-grams of one order: its sorted keys (M,), shorter ones left out, and the count of each."""

    order: int
    keys: Keys
    counts: Counts


class _Sample(NamedTuple):
    """N-grams on which pseudo-counts are fitted.

    Args:
        keys: of the highest order, and of shorter ones at the beginning of units (S,).
        counts: how often each occurs (S,).
        probs: of the last token given the shorter contexts, leaving out one occurrence of the n-gram (S,).
    """

    keys: Keys
    counts: Counts
    probs: Floats


def estimate_by_pseudocounts(ngrams: NgramCounts, vocab_size: int) -> NgramModel:
    """Estimate a model from counts. Each pseudo-count maximizes the likelihood of the text with each token left out in turn.

    To the text are added two imagined tokens in a context that occurred once before: one is the token that followed there,
    which had probability 1/V, one is not. So where no context recurs, the pseudo-count is V / (V - 2), not arbitrarily small.

    The orders between the highest and the first that has few n-grams are left out (see `KEPT_FRACTION`).
    """
    bits, counted = ngrams.bits, list(_by_order(ngrams))[::-1]
    singles = counted[0]
    total, places = singles.counts.sum(), singles.keys.astype(np.int64) - 1
    unigrams = np.full(vocab_size, UNIGRAM_PSEUDOCOUNT / vocab_size)
    unigrams[places] += singles.counts
    chosen = slice(None, None, -(-len(ngrams.keys) // FITTED_NGRAMS) or 1)
    sample_keys = ngrams.keys[chosen]
    targets = (sample_keys & _mask(1, bits)).astype(np.int64) - 1
    left_out = (unigrams[targets] - 1) / (total + UNIGRAM_PSEUDOCOUNT - 1)
    sample = _Sample(sample_keys, ngrams.counts[chosen], left_out)
    levels: list[Level] = []
    for each in counted[1:]:
        levels += [_empty_level()] * (each.order - 2 - len(levels))
        level, sample = _fitted(each, sample, bits, vocab_size)
        levels.append(level)
    return NgramModel(unigrams / (total + UNIGRAM_PSEUDOCOUNT), levels, bits)


def _by_order(ngrams: NgramCounts) -> Iterator[_Counted]:
    """Yield the n-grams of the highest order, and of each lower one that is kept."""
    keys, counts, bits = ngrams.keys, ngrams.counts, ngrams.bits
    for order in (ngrams.order, *range(_highest_kept(ngrams), 0, -1)):
        if order < ngrams.order:
            keys, counts = _shortened(keys, counts, _mask(order, bits))
        num_short = int(keys.searchsorted(np.uint64(1 << ((order - 1) * bits))))
        yield _Counted(order, keys[num_short:], counts[num_short:])


def _highest_kept(ngrams: NgramCounts) -> int:
    """Return the highest order that is kept below that of the n-grams, by bisection: each order has more than the one below."""

    def has_many(order: int) -> bool:
        keys = np.sort(ngrams.keys & _mask(order, ngrams.bits))
        return order > 1 and len(group_starts(keys)) > KEPT_FRACTION * len(ngrams.keys)

    return bisect_left(range(1, ngrams.order), True, key=has_many)


def _mask(order: int, bits: int) -> np.uint64:
    return np.uint64((1 << (order * bits)) - 1)


def _shortened(keys: Keys, counts: Counts, mask: np.uint64) -> tuple[Keys, Counts]:
    """Return the n-grams that n-grams end with, and the total count of each."""
    keys = keys & mask
    in_order = np.argsort(keys, kind="stable")
    keys = keys[in_order]
    starts = group_starts(keys)
    return keys[starts], np.add.reduceat(counts[in_order], starts) if len(keys) else counts


def _empty_level() -> Level:
    keys, floats = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.float32)
    return Level(keys, floats, floats, keys, np.zeros(1, dtype=np.int64))


def _fitted(ngrams: _Counted, sample: _Sample, bits: int, vocab_size: int) -> tuple[Level, _Sample]:
    """Return the level of an order with the best pseudo-count, and the sample with its probabilities at this order."""
    if not len(ngrams.keys):
        return _empty_level(), sample
    contexts, starts = contexts_of(ngrams.keys, bits)
    totals = np.add.reduceat(ngrams.counts, starts[:-1])
    is_long = sample.keys > _mask(ngrams.order - 1, bits)
    wanted = sample.keys[is_long] & _mask(ngrams.order, bits)
    shorter, occurrences = sample.probs[is_long], sample.counts[is_long]
    others = ngrams.counts[ngrams.keys.searchsorted(wanted)] - 1
    all_others = totals[contexts.searchsorted(wanted >> np.uint64(bits))] - 1

    def probs(pseudocount: float) -> Floats:
        return np.asarray((others + pseudocount * shorter) / (all_others + pseudocount))

    def loss(log_pseudocount: float) -> float:
        pseudocount = 2.0**log_pseudocount
        imagined = (
            math.log(1 + pseudocount / vocab_size) + log_pseudocount * math.log(2) - 2 * math.log(1 + pseudocount)
        )
        return -float(occurrences @ np.log(probs(pseudocount))) - imagined

    pseudocount = 2.0 ** golden_section_minimize(loss, *LOG_BOUNDS, tolerance=LOG_TOLERANCE)
    discounted = _ratio(ngrams.counts, np.repeat(totals, np.diff(starts)), pseudocount)
    backoffs = (pseudocount / (totals + pseudocount)).astype(np.float32)
    level = Level(ngrams.keys, discounted, backoffs, contexts, starts)
    left_out = sample.probs.copy()
    left_out[is_long] = probs(pseudocount)
    return level, sample._replace(probs=left_out)


def _ratio(counts: Counts, totals: Counts, pseudocount: float) -> npt.NDArray[np.float32]:
    return (counts / (totals + pseudocount)).astype(np.float32)
