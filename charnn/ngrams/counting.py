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
TOKENS_AT_ONCE = 1 << 22
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
            last = pending.pop()
            pending[-1] = _merged(pending[-1], last)
        while order > 1 and sum(len(part.keys) for part in pending) > max_ngrams:
            merged = _merge_all(pending)
            if len(merged.keys) > max_ngrams:
                order -= 1
                merged = NgramCounts(order, bits, *_distinct(_shortened(merged.keys, order, bits), merged.counts))
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


def _merged(left: NgramCounts, right: NgramCounts) -> NgramCounts:
    order = min(left.order, right.order)
    keys = _shortened(np.concatenate([left.keys, right.keys]), order, left.bits)
    return NgramCounts(order, left.bits, *_distinct(keys, np.concatenate([left.counts, right.counts])))


def _merge_all(parts: list[NgramCounts]) -> NgramCounts:
    merged = parts[-1]
    for part in reversed(parts[:-1]):
        merged = _merged(part, merged)
    return merged
