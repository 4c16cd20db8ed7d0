"""Interpolated modified Kneser-Ney smoothing: the n-gram model that a network is measured against, and mixed with.

Source: Chen and Goodman (1999); the figures follow Heafield et al. (2013), whose lmplz estimates the same model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.ngrams.counting import Counts, Keys, NgramCounts, bits_per_token, group_starts, keys_by_chunk, window_keys

Floats = npt.NDArray[np.float64]
_STORED = ("keys", "discounted", "backoffs")
DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)
"""Taken where a text is too small for its own: for counts of 1, of 2 and of more."""


@dataclass(frozen=True)
class Level:
    """The n-grams of one order.

    Args:
        keys: sorted (M,), see `counting`.
        discounted: (count - discount) / count of the context (M,).
        backoffs: the probability mass that each context leaves to the order below (C,).
        contexts: the keys' contexts, sorted (C,).
        starts: where each context's n-grams begin, and where the last one's end (C + 1,).
    """

    keys: Keys
    discounted: npt.NDArray[np.float32]
    backoffs: npt.NDArray[np.float32]
    contexts: Keys
    starts: npt.NDArray[np.int64]


def _contexts(keys: Keys, bits: int) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Return the contexts of sorted n-grams, and where those of each begin and the last one's end."""
    context_of_each = keys >> np.uint64(bits)
    starts = group_starts(context_of_each)
    return context_of_each[starts], np.append(starts, len(keys))


@dataclass(frozen=True)
class NgramScores:
    """What an n-gram model makes of the tokens of a text.

    Args:
        probs: probability of each target.
        matched: tokens of the longest context that was seen in training, 0 to order - 1.
    """

    probs: Floats
    matched: npt.NDArray[np.int64]

    def part(self, part: slice) -> "NgramScores":
        """Return what it makes of some of the tokens."""
        return NgramScores(self.probs[part], self.matched[part])


class NgramModel:
    """An n-gram model that is only read.

    Args:
        unigrams: probability of each token (V,).
        levels: orders 2, 3 and so on.
        bits: bits a token has in a key.
    """

    def __init__(self, unigrams: Floats, levels: list[Level], bits: int) -> None:
        self.unigrams = unigrams
        self.levels = levels
        self.bits = bits

    @property
    def order(self) -> int:
        """Tokens in the longest n-gram."""
        return len(self.levels) + 1

    @property
    def num_ngrams(self) -> int:
        """N-grams of all orders."""
        return len(self.unigrams) + sum(len(level.keys) for level in self.levels)

    def distribution(self, context: Sequence[int]) -> tuple[Floats, int]:
        """Return the probabilities (V,) of what follows a context, and the tokens of it that were matched.

        Args:
            context: ids (N,) from the boundary on; the last `order` - 1 count.
        """
        probs = self.unigrams.copy()
        matched = key = 0
        for length, level in enumerate(self.levels[: len(context)], start=1):
            key |= (context[-length] + 1) << ((length - 1) * self.bits)
            position = int(level.contexts.searchsorted(np.uint64(key)))
            if position == len(level.contexts) or int(level.contexts[position]) != key:
                break
            first, last = level.starts[position], level.starts[position + 1]
            probs *= level.backoffs[position]
            followers = (level.keys[first:last] & np.uint64((1 << self.bits) - 1)).astype(np.int64) - 1
            probs[followers] += level.discounted[first:last]
            matched = length
        return probs, matched

    def read(self, contexts: npt.NDArray[Any], targets: npt.NDArray[Any]) -> NgramScores:
        """Return what it makes of texts whose tokens are all given.

        Args:
            contexts: ids read (T, ...), time first; the first is a boundary.
            targets: the ids that follow them (T, ...).
        """
        return self._read(window_keys(contexts, self.order - 1, self.bits), targets)

    def read_text(self, ids: npt.NDArray[Any], *, boundary_id: int, cut_at_boundary: bool) -> NgramScores:
        """Return what it makes of each token of an encoded text (N,) (see `count_ngrams`)."""
        parts, first = [self._read(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64))], 0
        for keys in keys_by_chunk(ids, self.order, self.bits, boundary_id, cut_at_boundary):
            targets = np.asarray(ids[first : first + len(keys)]).astype(np.int64)
            parts.append(self._read(keys >> np.uint64(self.bits), targets))
            first += len(keys)
        return NgramScores(
            np.concatenate([scores.probs for scores in parts]),
            np.concatenate([scores.matched for scores in parts]),
        )

    def _read(self, history: Keys, targets: npt.NDArray[Any]) -> NgramScores:
        digits = targets.astype(np.uint64) + np.uint64(1)
        probs = self.unigrams[targets]
        matched = np.zeros(targets.shape, dtype=np.int64)
        for length, level in enumerate(self.levels, start=1):
            context = history & np.uint64((1 << (length * self.bits)) - 1)
            whole = context >> np.uint64((length - 1) * self.bits) > 0
            position, known = _find(level.contexts, context)
            known &= whole
            position = position[known]
            index, seen = _find(level.keys, (context[known] << np.uint64(self.bits)) | digits[known])
            discounted = np.where(seen, level.discounted[index], 0.0)
            probs[known] = discounted + level.backoffs[position] * probs[known]
            matched[known] = length
        return NgramScores(probs, matched)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the model as named arrays, as they go to disk; what follows from others is left out."""
        named: dict[str, npt.NDArray[Any]] = {"1.probs": self.unigrams}
        for order, level in enumerate(self.levels, start=2):
            named |= {f"{order}.{name}": getattr(level, name) for name in _STORED}
        return named


def _find(values: Keys, wanted: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return where wanted values stand in sorted ones, and whether they do."""
    if len(values) == 0:
        return np.zeros(wanted.shape, dtype=np.int64), np.zeros(wanted.shape, dtype=bool)
    positions = np.minimum(values.searchsorted(wanted), len(values) - 1)
    return positions, values[positions] == wanted


def estimate(ngrams: NgramCounts, vocab_size: int) -> NgramModel:
    """Smooth counts into a model.

    The highest order, and n-grams that begin a unit, have their plain counts; the others count the different tokens that
    come before them. The unigrams are interpolated with the uniform distribution over the vocabulary.
    """
    bits, levels = ngrams.bits, []
    keys, counts = ngrams.keys, ngrams.counts
    for order in range(ngrams.order, 1, -1):
        num_short = int(keys.searchsorted(np.uint64(1 << ((order - 1) * bits))))
        levels.append(_smooth(keys[num_short:], counts[num_short:], bits))
        keys, counts = _one_token_less(keys, counts[:num_short], order, bits)
    return NgramModel(_smooth_unigrams(keys, counts, vocab_size), levels[::-1], bits)


def _one_token_less(keys: Keys, short_counts: Counts, order: int, bits: int) -> tuple[Keys, Counts]:
    """Return the n-grams of the order below and their adjusted counts.

    To sort keys alone is many times faster than to sort what belongs to them too. So the n-grams of full length are shortened,
    sorted and counted, each being one different token before its suffix, and then merged with the few that begin a unit.

    Args:
        keys: sorted, those shorter than `order` first: they begin a unit.
        short_counts: the plain counts of these.
    """
    num_short = len(short_counts)
    suffixes = np.sort(keys[num_short:] & np.uint64((1 << ((order - 1) * bits)) - 1))
    starts = group_starts(suffixes)
    merged = np.concatenate([keys[:num_short], suffixes[starts]])
    counts = np.concatenate([short_counts, np.diff(starts, append=len(suffixes))])
    in_order = np.argsort(merged, kind="stable")  # a merge of two runs
    merged = merged[in_order]
    starts = group_starts(merged)
    return merged[starts], _sums(counts[in_order], np.append(starts, len(merged)))


def _discounts(counts: Counts) -> Floats:
    """Return what is taken from counts of 0, 1, 2 and 3 or more."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == number)) for number in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array((0.0, *DEFAULT_DISCOUNTS))
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 <= discount <= number for number, discount in enumerate(discounts, start=1)):
        return np.array((0.0, *DEFAULT_DISCOUNTS))
    return np.array((0.0, *discounts))


def _smooth(keys: Keys, counts: Counts, bits: int) -> Level:
    contexts, starts = _contexts(keys, bits)
    discounts = np.minimum(_discounts(counts)[np.minimum(counts, 3)], counts)
    totals, backoff_mass = _sums(counts, starts), _sums(discounts, starts)
    discounted = (counts - discounts) / np.repeat(totals, np.diff(starts))
    return Level(keys, discounted.astype(np.float32), (backoff_mass / totals).astype(np.float32), contexts, starts)


def _sums(values: npt.NDArray[Any], starts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return the sum of each run of values; `starts` ends with their number."""
    return np.add.reduceat(values, starts[:-1]) if len(values) else values


def _smooth_unigrams(keys: Keys, counts: Counts, vocab_size: int) -> Floats:
    uniform = np.full(vocab_size, 1 / vocab_size)
    if len(keys) == 0:
        return uniform
    discounts = np.minimum(_discounts(counts)[np.minimum(counts, 3)], counts)
    total = counts.sum()
    probs: Floats = uniform * (discounts.sum() / total)
    probs[keys.astype(np.int64) - 1] += (counts - discounts) / total
    return probs


def from_arrays(arrays: dict[str, npt.NDArray[Any]], vocab_size: int) -> NgramModel:
    """Return the model that `NgramModel.arrays` named.

    Raises:
        ValueError: where they are no such model of this vocabulary.
    """
    order = 1 + sum(name.endswith(".keys") for name in arrays)
    names = ["1.probs", *(f"{number}.{name}" for number in range(2, order + 1) for name in _STORED)]
    if sorted(names) != sorted(arrays):
        raise ValueError(f"holds {', '.join(sorted(arrays))}")
    if arrays["1.probs"].shape != (vocab_size,):
        raise ValueError(f"is for a vocabulary of {len(arrays['1.probs']):,}, the network has {vocab_size:,}")
    bits, levels = bits_per_token(vocab_size), []
    for number in range(2, order + 1):
        keys, discounted, backoffs = (arrays[f"{number}.{name}"] for name in _STORED)
        contexts, starts = _contexts(keys, bits)
        if len(discounted) != len(keys) or len(backoffs) != len(contexts):
            raise ValueError(f"has {len(keys)} n-grams of order {number}, {len(discounted)} probabilities of them")
        levels.append(Level(keys, discounted, backoffs, contexts, starts))
    return NgramModel(arrays["1.probs"], levels, bits)
