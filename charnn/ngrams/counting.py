"""Counting the n-grams of a long text in bounded memory.

An n-gram is one 64-bit key with a fixed number of bits per token, the last token lowest; 0 represents no token (before the
beginning of a unit), id + 1 a token. So n-grams with the same context are adjacent in sorted order, and masking the highest
bits removes the oldest token.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

MAX_KEY_BITS = 63
TOKENS_AT_ONCE = 1 << 19
MERGED_AT_ONCE = 1 << 18
"""n-grams that are sorted at a time while counts are merged: what is sorted takes several times its memory."""
MAX_NGRAMS = 1 << 23
"""Maximum number of distinct n-grams; if a text has more, the order is lowered."""


@dataclass(frozen=True)
class NgramCounts:
    """The n-grams of one order in a text, including shorter ones at the beginning of units.

    Args:
        order: maximum number of tokens.
        bits: bits per token in a key.
        keys: sorted keys (M,).
        counts: count of each (M,).
    """

    order: int
    bits: int
    keys: Keys
    counts: Counts


def bits_per_token(vocab_size: int) -> int:
    """Return the number of bits for the values 0 to `vocab_size`."""
    return vocab_size.bit_length()


def affordable_order(order: int, vocab_size: int) -> int:
    """Return the order, or the highest lower one whose n-grams fit into a key."""
    return max(1, min(order, MAX_KEY_BITS // bits_per_token(vocab_size)))


def window_keys(contexts: npt.NDArray[Any], order: int, bits: int) -> Keys:
    """Return the key of the last `order` tokens at each position (T, ...).

    Args:
        contexts: ids (T, ...), time first.
    """
    digits = contexts.astype(np.uint64) + np.uint64(1)
    keys = digits.copy()
    for distance in range(1, min(order, len(digits))):
        keys[distance:] |= digits[:-distance] << np.uint64(distance * bits)
    return keys


def count_ngrams(
    ids: npt.NDArray[Any],
    *,
    order: int,
    vocab_size: int,
    boundary_id: int,
    cut_at_boundary: bool,
    max_ngrams: int = MAX_NGRAMS,
    advance: Callable[[int], None] | None = None,
) -> NgramCounts:
    """Count the n-grams that end at each token of a text.

    Args:
        ids: the text (N,), memory-mapped or not, with an implicit boundary before it.
        order: tokens per n-gram; lowered if keys or memory do not allow it.
        cut_at_boundary: whether contexts end at the last boundary (lines, documents).
        max_ngrams: the order is lowered until there are at most this many distinct n-grams.
        advance: called with the number of tokens that were read.
    """
    bits = bits_per_token(vocab_size)
    order = affordable_order(order, vocab_size)
    pending: list[NgramCounts] = []
    for keys in keys_by_chunk(ids, order, bits, boundary_id, cut_at_boundary):
        distinct = _distinct(_shortened(keys, order, bits), np.ones(len(keys), dtype=np.int64))
        pending.append(NgramCounts(order, bits, *distinct))
        while len(pending) > 1 and len(pending[-2].keys) < 2 * len(pending[-1].keys):
            pending.append(_merged(pending.pop(), pending.pop()))
        while order > 1 and sum(len(part.keys) for part in pending) > max_ngrams:
            merged = _merge_all(pending)
            if len(merged.keys) > max_ngrams:
                order -= 1
                merged = _lowered(merged, order)
            pending = [merged]
        if advance is not None:
            advance(len(keys))
    return _merge_all(pending) if pending else NgramCounts(order, bits, *_nothing())


def _nothing() -> tuple[Keys, Counts]:
    return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)


def keys_by_chunk(
    ids: npt.NDArray[Any], order: int, bits: int, boundary_id: int, cut_at_boundary: bool
) -> Iterator[Keys]:
    """Yield the keys of the n-grams that end at each token of a text (see `count_ngrams`), in blocks of some millions."""
    for first in range(0, len(ids), TOKENS_AT_ONCE):
        before = max(0, first - order + 1)
        window = np.asarray(ids[before : first + TOKENS_AT_ONCE]).astype(np.int64)
        if before == 0:
            window = np.concatenate([[boundary_id], window])
        skipped = first - before + int(before == 0)
        keys = window_keys(window, order, bits)[skipped:]
        if cut_at_boundary:
            keys &= _masks_since_boundary(window, order, bits, boundary_id)[skipped:]
        yield keys


def _masks_since_boundary(window: npt.NDArray[np.int64], order: int, bits: int, boundary_id: int) -> Keys:
    """Return, for each token, a mask of the tokens since the last boundary before it."""
    positions = np.arange(len(window))
    boundaries = np.where(window == boundary_id, positions, -order)
    last_before = np.concatenate([[-order], np.maximum.accumulate(boundaries)[:-1]])
    num_tokens = np.minimum(positions - last_before + 1, order).astype(np.uint64)
    masks: Keys = (np.uint64(1) << (num_tokens * np.uint64(bits))) - np.uint64(1)
    return masks


def _shortened(keys: Keys, order: int, bits: int) -> Keys:
    return keys & np.uint64((1 << (order * bits)) - 1)


def _distinct(keys: Keys, counts: Counts) -> tuple[Keys, Counts]:
    """Return the distinct keys, sorted, and the total count of each."""
    if (counts == 1).all():
        keys = np.sort(keys)
        starts = group_starts(keys)
        return keys[starts], np.diff(starts, append=len(keys))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = group_starts(keys)
    return keys[starts], np.add.reduceat(counts[order], starts)


def group_starts(values: Keys) -> npt.NDArray[np.int64]:
    """Return the index at which each run of equal values begins."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])


def _lowered(ngrams: NgramCounts, order: int) -> NgramCounts:
    """Return the counts of the shorter n-grams that n-grams end with."""
    if order == ngrams.order:
        return ngrams
    keys = _shortened(ngrams.keys, order, ngrams.bits)
    sample = np.sort(keys[:: max(1, len(keys) // 1024)])
    bounds = sample[:: max(1, len(sample) * MERGED_AT_ONCE // max(1, len(keys)))][1:]
    part_of = _part_numbers(keys, bounds)
    merged = _Growing(len(keys))
    for number in range(len(bounds) + 1):
        is_here = part_of == number
        merged.add(*_distinct(keys[is_here], ngrams.counts[is_here]))
    return NgramCounts(order, ngrams.bits, *merged.result())


def _part_numbers(keys: Keys, bounds: Keys) -> npt.NDArray[Any]:
    """Return which of the parts of the range of keys, divided at sorted bounds, each key is in."""
    numbers = np.empty(len(keys), dtype=np.min_scalar_type(len(bounds)))
    for first in range(0, len(keys), MERGED_AT_ONCE):
        part = slice(first, first + MERGED_AT_ONCE)
        numbers[part] = bounds.searchsorted(keys[part], side="right")
    return numbers


class _Growing:
    """Sorted n-grams that are added part by part to arrays of the maximum size, whose unused end takes no memory.

    (Many arrays of some megabytes would leave gaps in the memory of the process when they are freed.)
    """

    def __init__(self, max_size: int) -> None:
        self._keys, self._counts = np.empty(max_size, dtype=np.uint64), np.empty(max_size, dtype=np.int64)
        self._size = 0

    def add(self, keys: Keys, counts: Counts) -> None:
        end = self._size + len(keys)
        self._keys[self._size : end], self._counts[self._size : end] = keys, counts
        self._size = end

    def result(self) -> tuple[Keys, Counts]:
        return self._keys[: self._size], self._counts[: self._size]


def _merged(left: NgramCounts, right: NgramCounts) -> NgramCounts:
    """Return the counts of two texts together, part by part in the order of the keys."""
    order = min(left.order, right.order)
    left, right = sorted((_lowered(left, order), _lowered(right, order)), key=lambda each: len(each.keys))
    merged, first = _Growing(len(left.keys) + len(right.keys)), 0
    for start in range(0, len(right.keys), MERGED_AT_ONCE):
        keys, counts = right.keys[start : start + MERGED_AT_ONCE], right.counts[start : start + MERGED_AT_ONCE]
        is_last = start + MERGED_AT_ONCE >= len(right.keys)
        end = len(left.keys) if is_last else int(left.keys.searchsorted(keys[-1], side="right"))
        keys = np.concatenate([keys, left.keys[first:end]])
        merged.add(*_distinct(keys, np.concatenate([counts, left.counts[first:end]])))
        first = end
    return NgramCounts(order, left.bits, *merged.result())


def _merge_all(parts: list[NgramCounts]) -> NgramCounts:
    """Merge counts, the last two first; the list is emptied, so that no counts are held longer than necessary."""
    merged = parts.pop()
    while parts:
        merged = _merged(parts.pop(), merged)
    return merged
