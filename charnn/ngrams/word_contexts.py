"""Contexts of words in texts of characters or bytes: the word so far, and the words before it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charnn.ngrams.contexts import Ids, Keys, shifts_of

WORD_BITS = (24, 20, 19)
"""Bits of the hashes of the word so far and of two words before: of 30,000 beginnings of words, 1 in 560 shares its hash."""
_LIMIT = (1 << 64) - 1
_BASE = 0x9E3779B97F4A7C15
_SPREAD = 0xD6E8FEB86659FD93
"""Odd factors: of the rolling hash of a word, and of what spreads its bits over the highest ones."""


@dataclass(frozen=True)
class Letters:
    """Which tokens are letters, for contexts of words.

    Args:
        codes: a number above 0 of each letter, the same for both cases; 0 for other tokens (V,).
    """

    codes: tuple[int, ...]

    @classmethod
    def of(cls, tokens: Sequence[str]) -> "Letters":
        """Return the letters of a vocabulary of characters, or of bytes, where those of longer characters count as letters."""

        def code(token: str) -> int:
            if len(token) == 1:
                is_letter = token.isalpha() or token in "'\u2019"
                return ord(token.lower()[0]) + 1 if is_letter else 0
            if token.startswith("<0x"):
                value = int(token[3:-1], 16)
                return value + 1 if value > 0x7F else 0
            return 0

        return cls(tuple(map(code, tokens)))


@dataclass(frozen=True)
class WordFamily:
    """The letters since the last other character, and words before them; the last character, where there are no letters.

    The hash of a word is sum c_i B^(n - 1 - i) modulo 2^64, whose highest bits, after a multiplication, are its digit.

    Args:
        letters: of the vocabulary.
        earlier: which of the words before count, 1 for the last one.
        boundary_id, is_cut: see `LaggedFamily`.
    """

    letters: Letters
    earlier: tuple[int, ...]
    boundary_id: int
    is_cut: bool

    @property
    def widths(self) -> tuple[int, ...]:
        """See `Family`."""
        return WORD_BITS[: 1 + len(self.earlier)]

    def keys(self, ids: Ids) -> Keys:
        """See `Family`.

        The hashes of all words so far are differences of one cumulative sum of c_i B^-(i + 1), times B^n.
        """
        codes = np.array(self.letters.codes, dtype=np.uint64)[ids]
        number, positions = len(ids), np.arange(len(ids))
        is_letter = codes > 0
        powers = _powers(_BASE, number + 1)
        sums = np.zeros(number + 1, dtype=np.uint64)
        np.cumsum(codes * _powers(pow(_BASE, -1, 1 << 64), number + 1)[1:], out=sums[1:])
        last_other = np.concatenate(([-1], np.maximum.accumulate(np.where(is_letter, -1, positions))))[:number]
        hashes = (sums[:number] - sums[last_other + 1]) * powers[:number]
        before = np.concatenate(([self.boundary_id], ids))[:number].astype(np.uint64) + np.uint64(1)
        current = np.where(last_other + 1 < positions, hashes, before)
        ends = np.flatnonzero(~is_letter & np.concatenate(([False], is_letter))[:number])
        num_ended = np.searchsorted(ends, positions)  # words that ended before each token
        first = np.zeros(number, dtype=np.intp)
        if self.is_cut:
            boundaries = np.where(ids == self.boundary_id, positions, -1)
            last_boundary = np.concatenate(([-1], np.maximum.accumulate(boundaries)))[:number]
            first = np.searchsorted(ends, last_boundary + 1)
        digits = [current]
        for distance in self.earlier:
            index = num_ended - distance
            words = hashes[ends[np.maximum(index, 0)]] if len(ends) else np.zeros(number, dtype=np.uint64)
            digits.append(np.where(index >= first, words, np.uint64(0)))
        keys = np.zeros(number, dtype=np.uint64)
        for digit, width, shift in zip(digits, self.widths, shifts_of(self.widths), strict=True):
            spread = (digit * np.uint64(_SPREAD)) >> np.uint64(64 - width)
            keys |= np.where(digit > 0, spread | np.uint64(1), np.uint64(0)) << np.uint64(shift)
        return keys

    def cursor(self) -> "_WordCursor":
        """See `Family`."""
        return _WordCursor(self, 0, self.boundary_id, [0] * max(self.earlier, default=0))


class _WordCursor:
    def __init__(self, family: WordFamily, word: int, last_id: int, earlier: list[int]) -> None:
        self._family, self._word, self._last_id, self._earlier = family, word, last_id, earlier
        self._codes, self._shifts = family.letters.codes, shifts_of(family.widths)

    def key(self) -> int:
        """See `Cursor`."""
        widths, shifts = self._family.widths, self._shifts
        key = self._digit(self._word or self._last_id + 1, widths[0]) << shifts[0]
        for number, distance in enumerate(self._family.earlier, start=1):
            key |= self._digit(self._earlier[-distance], widths[number]) << shifts[number]
        return key

    @staticmethod
    def _digit(value: int, width: int) -> int:
        return (((value * _SPREAD) & _LIMIT) >> (64 - width)) | 1 if value else 0

    def push(self, id: int) -> None:
        """See `Cursor`."""
        code = self._codes[id]
        if code:
            self._word = (self._word * _BASE + code) & _LIMIT
        elif self._word:
            self._earlier = [*self._earlier[1:], self._word]
            self._word = 0
        if self._family.is_cut and id == self._family.boundary_id:
            self._earlier = [0] * len(self._earlier)
        self._last_id = id

    def copy(self) -> "_WordCursor":
        """See `Cursor`."""
        return _WordCursor(self._family, self._word, self._last_id, self._earlier)


def _powers(base: int, number: int) -> Keys:
    """Return base^0, base^1 and so on, modulo 2^64 (N,)."""
    factors = np.full(number, base, dtype=np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)
