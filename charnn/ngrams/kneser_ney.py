"""Interpolated modified Kneser-Ney smoothing: the n-gram model, a baseline that can be interpolated with a network.

Source: Chen and Goodman (1999); details as in Heafield et al. (2013), whose lmplz estimates the same model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.ngrams.counting import Counts, Keys, NgramCounts, bits_per_token, group_starts, keys_by_chunk, window_keys

CONTEXTS_AT_ONCE = 1 << 18

Floats = npt.NDArray[np.float64]
_STORED = ("keys", "discounted", "backoffs")
DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)
"""Discounts for counts of 1, 2, and 3 or more, if a text is too short to estimate them."""


@dataclass(frozen=True)
class Level:
    """The n-grams of one order.

    Args:
        keys: sorted keys (M,), see `counting`.
        discounted: (count - discount) / count of the context (M,).
        backoffs: backoff weight of each context (C,).
        contexts: contexts of the keys, sorted (C,).
        starts: index of the first n-gram of each context, then M (C + 1,).
    """

    keys: Keys
    discounted: npt.NDArray[np.float32]
    backoffs: npt.NDArray[np.float32]
    contexts: Keys
    starts: npt.NDArray[np.int64]


def contexts_of(keys: Keys, bits: int) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Return the contexts of sorted n-grams, and the index of the first n-gram of each, followed by the number of n-grams."""
    context_of_each = keys >> np.uint64(bits)
    starts = group_starts(context_of_each)
    return context_of_each[starts], np.append(starts, len(keys))


@dataclass(frozen=True)
class NgramScores:
    """The probabilities of an n-gram model for the tokens of a text.

    Args:
        probs: probability of each target.
        matched: length of the longest context that was seen in training, 0 to order - 1.
    """

    probs: Floats
    matched: npt.NDArray[np.int64]

    def part(self, part: slice) -> "NgramScores":
        """Return the scores of a slice of the tokens."""
        return NgramScores(self.probs[part], self.matched[part])


class NgramModel:
    """An estimated n-gram model.

    Args:
        unigrams: probability of each token (V,).
        levels: the n-grams of orders 2, 3, ...
        bits: bits per token in a key.
    """

    def __init__(self, unigrams: Floats, levels: list[Level], bits: int) -> None:
        self.unigrams = unigrams
        self.levels = levels
        self.bits = bits

    @property
    def order(self) -> int:
        """Maximum n-gram order."""
        return len(self.levels) + 1

    @property
    def num_ngrams(self) -> int:
        """Number of n-grams of all orders."""
        return len(self.unigrams) + sum(len(level.keys) for level in self.levels)

    def distribution(self, context: Sequence[int]) -> tuple[Floats, int]:
        """Return the probabilities (V,) of the next token, and the length of the matched context.

        Args:
            context: ids (N,) since the boundary; only the last `order` - 1 matter.
        """
        probs = self.unigrams.copy()
        matched = key = 0
        for length, level in enumerate(self.levels[: len(context)], start=1):
            key |= (context[-length] + 1) << ((length - 1) * self.bits)
            if not len(level.keys):  # an order that is left out
                continue
            position = int(level.contexts.searchsorted(np.uint64(key)))
            if position == len(level.contexts) or int(level.contexts[position]) != key:
                break
            first, last = level.starts[position], level.starts[position + 1]
            probs *= level.backoffs[position]
            followers = (level.keys[first:last] & np.uint64((1 << self.bits) - 1)).astype(np.int64) - 1
            probs[followers] += level.discounted[first:last]
            matched = length
        return probs, matched

    def distributions(
        self, histories: Keys, dtype: type[np.floating[Any]] = np.float64
    ) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64]]:
        """Return the probabilities (..., V) of the next token, and the length of the matched context (...).

        Args:
            histories: keys of the last tokens since the boundary (...), see `histories` and `text_histories`.
            dtype: of the probabilities.
        """
        history_N = histories.ravel()
        probs_NV = np.tile(self.unigrams.astype(dtype), (len(history_N), 1))
        matched_N = np.zeros(len(history_N), dtype=np.int64)
        for length, level in enumerate(self.levels, start=1):
            position, known = self._known(level, history_N, length)
            rows = known.nonzero()[0]
            first, number = level.starts[position], level.starts[position + 1] - level.starts[position]
            entries = np.repeat(first - np.cumsum(number) + number, number) + np.arange(number.sum())
            followers = (level.keys[entries] & np.uint64((1 << self.bits) - 1)).astype(np.int64) - 1
            probs_NV[rows] *= level.backoffs[position][:, None]
            probs_NV[np.repeat(rows, number), followers] += level.discounted[entries]
            matched_N[rows] = length
        shape = histories.shape
        return probs_NV.reshape(*shape, len(self.unigrams)), matched_N.reshape(shape)

    def histories(self, contexts: npt.NDArray[Any]) -> Keys:
        """Return the keys of the last tokens at each position of texts (T, ...), time first."""
        return window_keys(contexts, self.order - 1, self.bits)

    def text_histories(self, ids: npt.NDArray[Any], *, boundary_id: int, cut_at_boundary: bool) -> Keys:
        """Return the keys of the tokens before each token of an encoded text (N,) (see `count_ngrams`)."""
        chunks = keys_by_chunk(ids, self.order, self.bits, boundary_id, cut_at_boundary)
        return np.concatenate([np.zeros(0, dtype=np.uint64), *(keys >> np.uint64(self.bits) for keys in chunks)])

    def read(self, contexts: npt.NDArray[Any], targets: npt.NDArray[Any]) -> NgramScores:
        """Score texts.

        Args:
            contexts: input ids (T, ...), time first; the first is a boundary.
            targets: the next id at each position (T, ...).
        """
        return self.scores(self.histories(contexts), targets)

    def read_text(self, ids: npt.NDArray[Any], *, boundary_id: int, cut_at_boundary: bool) -> NgramScores:
        """Score each token of an encoded text (N,) (see `count_ngrams`)."""
        parts, first = [self.scores(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64))], 0
        for keys in keys_by_chunk(ids, self.order, self.bits, boundary_id, cut_at_boundary):
            targets = np.asarray(ids[first : first + len(keys)]).astype(np.int64)
            parts.append(self.scores(keys >> np.uint64(self.bits), targets))
            first += len(keys)
        return NgramScores(
            np.concatenate([scores.probs for scores in parts]),
            np.concatenate([scores.matched for scores in parts]),
        )

    def scores(self, histories: Keys, targets: npt.NDArray[Any]) -> NgramScores:
        """Score targets (...), given the keys of the tokens before each (...)."""
        digits = targets.astype(np.uint64) + np.uint64(1)
        probs = self.unigrams[targets]
        matched = np.zeros(targets.shape, dtype=np.int64)
        for length, level in enumerate(self.levels, start=1):
            position, known = self._known(level, histories, length)
            index, seen = _find(level.keys, (level.contexts[position] << np.uint64(self.bits)) | digits[known])
            discounted = np.where(seen, level.discounted[index], 0.0)
            probs[known] = discounted + level.backoffs[position] * probs[known]
            matched[known] = length
        return NgramScores(probs, matched)

    def _known(self, level: Level, histories: Keys, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the positions of the contexts of a level that were seen (K,), and of which histories (...) they are."""
        context = histories & np.uint64((1 << (length * self.bits)) - 1)
        position, known = _find(level.contexts, context)
        known &= context >> np.uint64((length - 1) * self.bits) > 0
        return position[known], known

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the model as named arrays, as stored on disk, without arrays that can be derived from others."""
        named: dict[str, npt.NDArray[Any]] = {"1.probs": self.unigrams}
        for order, level in enumerate(self.levels, start=2):
            named |= {f"{order}.{name}": getattr(level, name) for name in _STORED}
        return named


def _find(values: Keys, wanted: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the index of each wanted value in sorted values, and whether it is present."""
    if len(values) == 0:
        return np.zeros(wanted.shape, dtype=np.int64), np.zeros(wanted.shape, dtype=bool)
    positions = np.minimum(values.searchsorted(wanted), len(values) - 1)
    return positions, values[positions] == wanted


def estimate(ngrams: NgramCounts, vocab_size: int) -> NgramModel:
    """Estimate a model from counts.

    The highest order, and n-grams at the beginning of a unit, use plain counts; the others use the number of distinct tokens
    that precede them (adjusted counts). Unigrams are interpolated with the uniform distribution over the vocabulary.
    """
    bits, levels = ngrams.bits, []
    keys, counts = ngrams.keys, ngrams.counts
    for order in range(ngrams.order, 1, -1):
        num_short = int(keys.searchsorted(np.uint64(1 << ((order - 1) * bits))))
        levels.append(_smooth(keys[num_short:], counts[num_short:], bits))
        keys, counts = _one_token_less(keys, counts[:num_short], order, bits)
    return NgramModel(_smooth_unigrams(keys, counts, vocab_size), levels[::-1], bits)


def _one_token_less(keys: Keys, short_counts: Counts, order: int, bits: int) -> tuple[Keys, Counts]:
    """Return the n-grams of the next lower order and their adjusted counts.

    Sorting only keys is many times faster than sorting keys with counts. So the n-grams of full length are shortened, sorted
    and counted (each stands for one distinct token before its suffix), and then merged with the few at the beginning of units.

    Args:
        keys: sorted keys; n-grams shorter than `order`, which are at the beginning of a unit, come first.
        short_counts: plain counts of the shorter n-grams.
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
    """Return the discounts for counts of 0, 1, 2 and 3 or more."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == number)) for number in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array((0.0, *DEFAULT_DISCOUNTS))
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 <= discount <= number for number, discount in enumerate(discounts, start=1)):
        return np.array((0.0, *DEFAULT_DISCOUNTS))
    return np.array((0.0, *discounts))


def _smooth(keys: Keys, counts: Counts, bits: int) -> Level:
    contexts, starts = contexts_of(keys, bits)
    discount_of = _discounts(counts)
    discounted = np.empty(len(keys), dtype=np.float32)
    backoffs = np.empty(len(contexts), dtype=np.float32)
    for first in range(0, len(contexts), CONTEXTS_AT_ONCE):
        bounds = starts[first : first + CONTEXTS_AT_ONCE + 1]
        part = slice(bounds[0], bounds[-1])
        discounts = np.minimum(discount_of[np.minimum(counts[part], 3)], counts[part])
        relative = bounds - bounds[0]
        totals = _sums(counts[part], relative)
        discounted[part] = (counts[part] - discounts) / np.repeat(totals, np.diff(bounds))
        backoffs[first : first + CONTEXTS_AT_ONCE] = _sums(discounts, relative) / totals
    return Level(keys, discounted, backoffs, contexts, starts)


def _sums(values: npt.NDArray[Any], starts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return the sum of each run of values; the last of `starts` is their number."""
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
    """Restore a model from the arrays returned by `NgramModel.arrays`.

    Raises:
        ValueError: if they are not a model of this vocabulary.
    """
    order = 1 + sum(name.endswith(".keys") for name in arrays)
    names = ["1.probs", *(f"{number}.{name}" for number in range(2, order + 1) for name in _STORED)]
    if sorted(names) != sorted(arrays):
        raise ValueError(f"contains {', '.join(sorted(arrays))}")
    if arrays["1.probs"].shape != (vocab_size,):
        raise ValueError(f"has a vocabulary of {len(arrays['1.probs']):,}, but the network has {vocab_size:,}")
    bits, levels = bits_per_token(vocab_size), []
    for number in range(2, order + 1):
        keys, discounted, backoffs = (arrays[f"{number}.{name}"] for name in _STORED)
        contexts, starts = contexts_of(keys, bits)
        if len(discounted) != len(keys) or len(backoffs) != len(contexts):
            raise ValueError(f"has {len(keys)} n-grams of order {number}, but {len(discounted)} probabilities")
        levels.append(Level(keys, discounted, backoffs, contexts, starts))
    return NgramModel(arrays["1.probs"], levels, bits)
