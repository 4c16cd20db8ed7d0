"""The training text by its contexts: what followed each, without counting all contexts beforehand.

The keys of a family's contexts are sorted, so that a context of any length is a range of them, and what followed it lies beside
it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.ngrams.contexts import KEY_BITS, Family, Ids

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

MAX_INDEXED = 1 << 22
"""Tokens of the end of a longer training text that are looked at: 27 to 36 bytes and a second of sorting for a million."""
FEW_FOLLOWERS = 24
"""What followed a context up to this often is counted without NumPy."""
SPARSE = 8
"""With more than this many tokens in the vocabulary for each follower, followers are sorted to be counted."""
Followers = tuple[Any, Any]
"""Tokens (M,) and counts (M,), as lists or arrays."""


class TextIndex:
    """A text, sorted by the contexts of a family; it stays as it is, so that several may read it.

    Args:
        family: of contexts.
        ids: the text (N,).
        vocab_size: tokens in the vocabulary.
    """

    def __init__(self, family: Family, ids: Ids, vocab_size: int) -> None:
        keys = family.keys(ids)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._followers = ids[order].astype(np.min_scalar_type(vocab_size))
        self._keys.flags.writeable = self._followers.flags.writeable = False
        self._vocab_size = vocab_size
        ends = np.cumsum(family.widths)
        self._spans = [1 << (KEY_BITS - int(end)) for end in ends]

    def followers(self, key: int, lengths: Sequence[int]) -> list[Followers]:
        """Return what followed contexts that are prefixes of one key: tokens, and how often each did; of those that occur.

        Args:
            key: of the longest context.
            lengths: of the contexts, in digits, ascending.
        """
        bounds = [0] * (2 * len(lengths))
        for number, length in enumerate(lengths):
            span = self._spans[length - 1]
            bounds[2 * number] = first = key - key % span
            bounds[2 * number + 1] = first + span
        places = self._keys.searchsorted(np.array(bounds, dtype=np.uint64)).tolist()
        found = []
        for start, end in zip(places[::2], places[1::2], strict=True):
            if start == end:
                break  # nor did anything follow longer contexts
            found.append(self._tally(start, end))
        return found

    def _tally(self, start: int, end: int) -> Followers:
        found = self._followers[start:end]
        if end - start <= FEW_FOLLOWERS:
            tally: dict[int, int] = {}
            for id in found.tolist():
                tally[id] = tally.get(id, 0) + 1
            return list(tally), list(tally.values())
        if (end - start) * SPARSE < self._vocab_size:
            symbols, counts = np.unique(found, return_counts=True)
            return symbols, counts
        counts = np.bincount(found)
        symbols = counts.nonzero()[0]
        return symbols, counts[symbols]
