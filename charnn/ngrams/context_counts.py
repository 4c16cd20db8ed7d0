"""Counts of what followed each context, in the training text and in what was read since.

What is read counts more than the training text, and fades as the context is read again with other continuations: adaptive
statistics as in PAQ. Source: Mahoney (2005), Adaptive weighing of context models for lossless data compression.
"""

from collections.abc import Sequence

import numpy as np

from charnn.ngrams.context_entries import Entries, EntryStore
from charnn.ngrams.context_index import TextIndex
from charnn.ngrams.contexts import Expert

READ_COUNTS = np.array((8.0, 1.0))
"""What a read token adds to the counts of all text, where one of the training text adds 1, and to those of what was read."""
DRAWN_COUNTS = np.array((1.0, 0.0))
"""The same for a token that the model itself drew; the others do not fade. A text that learned from itself as from others would
soon repeat itself."""
MAX_CONTEXTS = 1_000_000
"""Contexts that are kept in memory; when there are more, the half that was not read for longest is dropped."""


class ContextCounts:
    """The counts of all contexts that were met.

    Args:
        experts: the contexts of each position, those of a family in the order of their lengths.
        indices: of the training text, one for each family; None for families of which only what is read counts.
        max_contexts: see `MAX_CONTEXTS`.
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        indices: Sequence[TextIndex | None],
        *,
        max_contexts: int = MAX_CONTEXTS,
    ) -> None:
        self._experts, self._indices, self._max_contexts = experts, indices, max_contexts
        self._kept_C = np.array([expert.kept for expert in experts])
        families = sorted({expert.family for expert in experts})
        self._of_family = [
            [number for number, each in enumerate(experts) if each.family == family] for family in families
        ]
        self._slots: list[dict[int, int]] = [{} for _ in experts]
        self._store = EntryStore()
        self._last_read = np.zeros(1, dtype=np.int64)
        self._num_read = 0

    def copy(self) -> "ContextCounts":
        """Return counts that go on independently; the index of the training text is shared."""
        other = ContextCounts(self._experts, self._indices, max_contexts=self._max_contexts)
        other._slots = [slots.copy() for slots in self._slots]
        other._store, other._last_read, other._num_read = self._store.copy(), self._last_read.copy(), self._num_read
        return other

    def look_up(self, contexts: Sequence[int], keys: Sequence[int]) -> Entries:
        """Return the counts of the contexts of a position, from the training text where one is met for the first time.

        Args:
            contexts: the key of each expert's context, cut to its length; 0 for none.
            keys: the whole key of each family.
        """
        found = [slots.get(context, 0) for slots, context in zip(self._slots, contexts, strict=True)]
        if 0 in found:
            for numbers in self._of_family:
                new = [number for number in numbers if not found[number] and contexts[number]]
                if new:
                    self._meet(new, contexts, keys, found)
        return self._store.look_up(found)

    def _meet(self, new: Sequence[int], contexts: Sequence[int], keys: Sequence[int], found: list[int]) -> None:
        """Begin to count contexts of a family, of these numbers, and note their slots."""
        first = self._store.new_slots(len(new))
        for slot, number in enumerate(new, start=first):
            found[number] = self._slots[number][contexts[number]] = slot
        family = self._experts[new[0]].family
        index = self._indices[family]
        if index is None:
            return
        lengths = [self._experts[number].num_digits for number in new]
        for slot, (symbols, counts) in enumerate(index.followers(keys[family], lengths), start=first):
            self._store.fill(slot, symbols, counts, len(symbols))

    def read(self, entries: Entries, id: int, *, is_drawn: bool = False) -> None:
        """Count a token that followed the contexts, and let the counts of the others fade.

        Args:
            is_drawn: whether the model drew it.
        """
        is_read_N = entries.symbols_N == id
        added, kept_C = (DRAWN_COUNTS, np.ones(len(self._experts))) if is_drawn else (READ_COUNTS, self._kept_C)
        faded_2N = kept_C[entries.owners_N] * entries.counts_2N
        counts_2N = np.where(is_read_N, entries.counts_2N + added[:, None], faded_2N)
        self._store.set_counts(entries.places_N, counts_2N)
        slots = entries.slots_C.tolist()
        known = set(entries.owners_N[is_read_N].tolist())
        for number, slot in enumerate(slots):
            if slot and number not in known:
                self._store.add(slot, id, added)
        self._num_read += 1
        if self._store.num_slots > len(self._last_read):
            room = np.zeros(self._store.num_slots, dtype=np.int64)
            self._last_read = np.concatenate((self._last_read, room))
        self._last_read[entries.slots_C] = self._num_read
        if self._store.num_slots > self._max_contexts:
            self._forget()

    def _forget(self) -> None:
        """Drop the contexts that were not read for longest; what the training text has of them is found there again."""
        last_read = self._last_read[1 : self._store.num_slots]
        kept = 1 + np.flatnonzero(last_read > np.median(last_read))
        new_slots = np.zeros(self._store.num_slots, dtype=np.int64)
        new_slots[kept] = np.arange(1, len(kept) + 1)
        new_of = new_slots.tolist()
        self._slots = [
            {context: new_of[slot] for context, slot in slots.items() if new_of[slot]} for slots in self._slots
        ]
        self._last_read = np.concatenate((self._last_read[:1], self._last_read[kept]))
        self._store = self._store.kept(kept)
