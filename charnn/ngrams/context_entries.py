"""Entries of many contexts: tokens that followed each, with counts, in a few arrays that grow."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.ngrams.context_index import Floats, Integers

FIRST_SLOTS, FIRST_ENTRIES = 1 << 10, 1 << 12


class Entries(NamedTuple):
    """The entries of the C contexts of a position.

    Args:
        slots_C: of each context, 0 for one that predicts nothing.
        owners_N: the number of the context of each entry.
        places_N: where each entry is kept.
        symbols_N: its token.
        counts_2N: its count in all text, and in what was read only.
    """

    slots_C: Integers
    owners_N: Integers
    places_N: Integers
    symbols_N: Integers
    counts_2N: Floats


class EntryStore:
    """A slot for each context, which has a range of the entries with room to grow. Slot 0 stays empty."""

    def __init__(self) -> None:
        self.num_slots, self._num_entries = 1, 0
        self._starts, self._sizes, self._rooms = (np.zeros(FIRST_SLOTS, dtype=np.int64) for _ in range(3))
        self._symbols, self._counts = np.zeros(FIRST_ENTRIES, dtype=np.int32), np.zeros((2, FIRST_ENTRIES))

    def copy(self) -> "EntryStore":
        """Return a store that changes independently."""
        other = EntryStore()
        other.num_slots, other._num_entries = self.num_slots, self._num_entries
        other._starts, other._sizes, other._rooms = self._starts.copy(), self._sizes.copy(), self._rooms.copy()
        other._symbols, other._counts = self._symbols.copy(), self._counts.copy()
        return other

    def new_slots(self, number: int) -> int:
        """Add empty slots in succession; return the first."""
        first = self.num_slots
        self.num_slots += number
        if self.num_slots > len(self._starts):
            self._starts, self._sizes, self._rooms = map(_doubled, (self._starts, self._sizes, self._rooms))
        return first

    def fill(self, slot: int, symbols: npt.ArrayLike, counts: npt.ArrayLike, size: int) -> None:
        """Put tokens (M,) with their counts in all text (M,) into an empty slot."""
        start = self._reserve(slot, size)
        self._symbols[start : start + size] = symbols
        self._counts[0, start : start + size] = counts
        self._sizes[slot] = size

    def _reserve(self, slot: int, room: int) -> int:
        """Give a slot a new range; return where it begins."""
        start = self._num_entries
        self._num_entries += room
        while self._num_entries > len(self._symbols):
            self._symbols, self._counts = _doubled(self._symbols), _doubled(self._counts)
        self._starts[slot], self._rooms[slot] = start, room
        return start

    def add(self, slot: int, id: int, counts_2: Floats) -> None:
        """Add a token to a slot, with its two counts."""
        size, old = int(self._sizes[slot]), int(self._starts[slot])
        start = old
        if size == self._rooms[slot]:
            start = self._reserve(slot, max(1, 2 * size))
            self._symbols[start : start + size] = self._symbols[old : old + size]
            self._counts[:, start : start + size] = self._counts[:, old : old + size]
        self._symbols[start + size] = id
        self._counts[:, start + size] = counts_2
        self._sizes[slot] = size + 1

    def look_up(self, slots: Sequence[int]) -> Entries:
        """Return the entries of some slots (C,)."""
        slots_C = np.array(slots)
        sizes_C = self._sizes[slots_C]
        owners_N, places_N = _ranges(self._starts[slots_C], sizes_C)
        return Entries(slots_C, owners_N, places_N, self._symbols[places_N], self._counts.take(places_N, axis=1))

    def set_counts(self, places_N: Integers, counts_2N: Floats) -> None:
        """Replace the counts of entries."""
        self._counts[:, places_N] = counts_2N

    def kept(self, slots: Integers) -> "EntryStore":
        """Return a store with some of the slots (C,) alone, numbered from 1 on in their order."""
        other = EntryStore()
        other.new_slots(len(slots))
        _, places = _ranges(self._starts[slots], self._sizes[slots])
        sizes = np.concatenate((np.zeros(1, dtype=np.int64), self._sizes[slots]))
        other._starts, other._sizes, other._rooms = map(_doubled, (sizes.cumsum() - sizes, sizes, sizes))
        other._symbols, other._counts = _doubled(self._symbols[places]), _doubled(self._counts[:, places])
        other._num_entries = len(places)
        return other


def _ranges(starts_C: Integers, sizes_C: Integers) -> tuple[Integers, Integers]:
    """Return the number of the range and the place of each entry of C ranges (N,)."""
    owners_N = np.arange(len(sizes_C)).repeat(sizes_C)
    places_N = np.arange(len(owners_N)) + (starts_C + sizes_C - sizes_C.cumsum())[owners_N]
    return owners_N, places_N


def _doubled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array with room for as many entries again, at least for a few (..., 2 N)."""
    room = np.zeros((*array.shape[:-1], max(array.shape[-1], FIRST_SLOTS)), dtype=array.dtype)
    return np.concatenate((array, room), axis=-1)
