"""Contexts: what of the tokens before the next one selects the counts that predict it.

A family of contexts is a key of at most 63 bits, made of digits, the most important one highest: of the last token, the one
before it and so on, or of the word so far, the word before it and so on. The first digits of a key are a shorter context, so
that the contexts of all lengths lie in one sorted array as ranges within ranges. A digit of 0 means that there is nothing: a
context whose last digit is 0 predicts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Ids = npt.NDArray[np.int64]

KEY_BITS = 63


class Cursor(Protocol):
    """Follows a text, and has the key of the context of its next token."""

    def key(self) -> int:
        """Return the key."""
        ...

    def push(self, id: int) -> None:
        """Read a token."""
        ...

    def copy(self) -> "Cursor":
        """Return another cursor at the same position."""
        ...


class Family(Protocol):
    """Contexts that are prefixes of one key."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of each digit, the most important one first."""
        ...

    def keys(self, ids: Ids) -> Keys:
        """Return the keys of the contexts of all tokens (N,) of a text, which begins after a boundary."""
        ...

    def cursor(self) -> Cursor:
        """Return a cursor that has read nothing."""
        ...


@dataclass(frozen=True)
class Expert:
    """A context length of a family, whose counts make distributions.

    Args:
        family: its number.
        num_digits: length of the context.
        kept: what is left of the counts of the other tokens of a context whenever it is read.
    """

    family: int
    num_digits: int
    kept: float = 0.9


@dataclass(frozen=True)
class EmptyFamily:
    """The one context that is always the same, for counts of the tokens themselves."""

    widths: tuple[int, ...] = (1,)

    def keys(self, ids: Ids) -> Keys:
        """See `Family`."""
        return np.full(len(ids), 1 << (KEY_BITS - 1), dtype=np.uint64)

    def cursor(self) -> "_EmptyCursor":
        """See `Family`."""
        return _EmptyCursor()


class _EmptyCursor:
    def key(self) -> int:
        """See `Cursor`."""
        return 1 << (KEY_BITS - 1)

    def push(self, id: int) -> None:
        """See `Cursor`."""

    def copy(self) -> "_EmptyCursor":
        """See `Cursor`."""
        return self


@dataclass(frozen=True)
class LaggedFamily:
    """The tokens at some distances.

    Args:
        lags: the distances, the nearest first, 1 for the last token.
        bits: of a token.
        boundary_id: where contexts begin, which the first token follows.
        is_cut: whether contexts begin anew at each boundary (lines, documents), not only at that before the text.
    """

    lags: tuple[int, ...]
    bits: int
    boundary_id: int
    is_cut: bool

    @property
    def widths(self) -> tuple[int, ...]:
        """See `Family`."""
        return (self.bits,) * len(self.lags)

    def keys(self, ids: Ids) -> Keys:
        """See `Family`."""
        before = np.concatenate(([self.boundary_id], ids))[: len(ids)]
        positions = np.arange(len(ids))
        starts = np.maximum.accumulate(np.where(before == self.boundary_id, positions, 0)) if self.is_cut else 0
        keys = np.zeros(len(ids), dtype=np.uint64)
        for lag, shift in zip(self.lags, shifts_of(self.widths), strict=True):
            digits = np.zeros(len(ids), dtype=np.uint64)
            digits[lag - 1 :] = before[: max(0, len(ids) - lag + 1)] + 1
            digits[positions - lag + 1 < starts] = 0
            keys |= digits << np.uint64(shift)
        return keys

    def cursor(self) -> "_LaggedCursor":
        """See `Family`."""
        return _LaggedCursor(self, [0] * max(self.lags))


class _LaggedCursor:
    def __init__(self, family: LaggedFamily, digits: list[int]) -> None:
        self._family, self._digits = family, digits
        self._shifts = [(-lag, shift) for lag, shift in zip(family.lags, shifts_of(family.widths), strict=True)]

    def key(self) -> int:
        """See `Cursor`."""
        digits, key = self._digits, 0
        for index, shift in self._shifts:
            key |= digits[index] << shift
        return key

    def push(self, id: int) -> None:
        """See `Cursor`."""
        if self._family.is_cut and id == self._family.boundary_id:
            self._digits = [0] * len(self._digits)
        self._digits.append(id + 1)
        del self._digits[0]

    def copy(self) -> "_LaggedCursor":
        """See `Cursor`."""
        return _LaggedCursor(self._family, self._digits.copy())


def shifts_of(widths: Sequence[int]) -> list[int]:
    """Return by how many bits each digit of a key is shifted to the left."""
    return [KEY_BITS - end for end in accumulate(widths)]
