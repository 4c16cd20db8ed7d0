"""How much of a text is copied from the text that a model learned from.

The training text is read once, in order, whatever its length: windows of 1, 2, ... tokens are hashed as they roll by and looked
up among those of the passages. Beside the samples stand pieces of held-out text of the same length: what anybody who writes
like this has in common with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[Any]
Hashes = npt.NDArray[np.uint64]

ORDERS = 16
"""Tokens in the longest n-grams that are counted; longer spans are found as runs of these."""
TABLE_BITS = 20
TOKENS_AT_ONCE = 1 << 18
NUM_PIECES = 16
TIMES_HELD_OUT = 2.0
"""A sample is called copied if its longest copied span is so many times as long as any of held-out text."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Copied:
    """What a passage has in common with a text.

    Args:
        length: tokens in the longest span that stands in both.
        start: where it begins in the passage.
        place: where it begins in the text, the first such place; None where the length is 0.
        shares: for n-grams of 1, 2, ... tokens the share of the passage's that stand in the text; NaN where it has none.
    """

    length: int
    start: int
    place: int | None
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Novelty:
    """How new a sample is.

    Args:
        copied: what it has in common with the training text.
        held_out: the same of pieces of held-out text of its length; none where nothing was held out.
        line: the line of the training text in which the longest copied span begins, from 1.
    """

    copied: Copied
    held_out: tuple[Copied, ...]
    line: int | None

    @property
    def held_out_length(self) -> int | None:
        """The longest span that any held-out piece has in common with the training text."""
        return max((piece.length for piece in self.held_out), default=None)

    @property
    def is_copied(self) -> bool | None:
        """Whether the sample copies far longer spans than held-out text does; None where there is none."""
        held_out = self.held_out_length
        return None if held_out is None else self.copied.length > TIMES_HELD_OUT * held_out

    def held_out_share(self, order: int) -> float:
        """Return the mean share of n-grams of an order that held-out pieces have in common with the training text."""
        shares = [piece.shares[order - 1] for piece in self.held_out]
        known = [share for share in shares if not np.isnan(share)]
        return float(np.mean(known)) if known else float("nan")


def judge(samples: Sequence[Ids], training: Ids, held_out: Ids, *, newline_id: int | None) -> list[Novelty]:
    """Say how new some samples are, in one reading of the training text.

    Args:
        samples: ids of each (N,).
        training, held_out: encoded texts (M,), memory-mapped or not.
        newline_id: the token that ends a line, for the line of a copied span.
    """
    lengths = sorted({len(sample) for sample in samples})
    size = lengths[len(lengths) // 2] if lengths else 0
    pieces = _pieces(held_out, size)
    found = find_copies([*samples, *pieces], training)
    own, others = found[: len(samples)], tuple(found[len(samples) :])
    return [Novelty(copied, others, _line(training, copied.place, newline_id)) for copied in own]


def _pieces(ids: Ids, size: int) -> list[Ids]:
    """Return pieces of a text that are spread evenly over it."""
    if not size or len(ids) < size:
        return [np.asarray(ids)] if len(ids) and size else []
    starts = np.unique(np.linspace(0, len(ids) - size, NUM_PIECES).astype(np.int64))
    return [np.asarray(ids[start : start + size]) for start in starts.tolist()]


def _line(training: Ids, place: int | None, newline_id: int | None) -> int | None:
    if place is None or newline_id is None:
        return None
    firsts = range(0, place, TOKENS_AT_ONCE)
    before = (training[first : min(first + TOKENS_AT_ONCE, place)] for first in firsts)
    return 1 + sum(int(np.count_nonzero(ids == newline_id)) for ids in before)


def find_copies(passages: Sequence[Ids], text: Ids) -> list[Copied]:
    """Find what passages have in common with a text, by hashes of 64 bits."""
    searched = [_Windows(passages, order) for order in range(1, ORDERS + 1)]
    runs = _Runs(len(passages))
    for first in range(0, len(text), TOKENS_AT_ONCE):
        tokens = np.asarray(text[first : first + TOKENS_AT_ONCE + ORDERS - 1]).astype(np.uint64) + np.uint64(1)
        hashes: Hashes = np.zeros(min(TOKENS_AT_ONCE, len(tokens)), dtype=np.uint64)
        for order, windows in enumerate(searched, start=1):
            num_windows = min(len(hashes), len(tokens) - order + 1)
            if num_windows <= 0:
                break
            hashes = hashes[:num_windows]
            hashes *= _MULTIPLIER
            hashes += tokens[order - 1 : order - 1 + num_windows]
            hits = windows.look_up(hashes, first, keep=order == ORDERS)
            if order == ORDERS and hits is not None:
                runs.add(*hits)
    return [_summary(number, searched, runs) for number in range(len(passages))]


def window_hashes(ids: Ids, order: int) -> Hashes:
    """Return the hash of each run of `order` tokens (N - order + 1,)."""
    tokens = np.asarray(ids).astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(max(0, len(tokens) - order + 1), dtype=np.uint64)
    for offset in range(order):
        hashes *= _MULTIPLIER
        hashes += tokens[offset : offset + len(hashes)]
    return hashes


class _Windows:
    """The runs of one number of tokens in all passages, looked for in a text."""

    def __init__(self, passages: Sequence[Ids], order: int) -> None:
        per_passage = [window_hashes(passage, order) for passage in passages]
        self.passage = np.repeat(np.arange(len(passages)), [len(hashes) for hashes in per_passage])
        self.start = np.concatenate([np.arange(len(hashes)) for hashes in per_passage] or [np.zeros(0, dtype=np.int64)])
        every = np.concatenate(per_passage or [np.zeros(0, dtype=np.uint64)])
        self._order = np.argsort(every, kind="stable")
        self._distinct, self._first, counts = np.unique(every[self._order], return_index=True, return_counts=True)
        self._counts = counts
        self._which = np.zeros(len(every), dtype=np.int64)
        self._which[self._order] = np.repeat(np.arange(len(counts)), counts)
        self._place = np.full(len(self._distinct), -1, dtype=np.int64)
        self._table = np.zeros(1 << TABLE_BITS, dtype=bool)
        self._table[self._distinct >> np.uint64(64 - TABLE_BITS)] = True

    @property
    def place(self) -> npt.NDArray[np.int64]:
        """The first place in the text of each window of the passages, -1 where there is none."""
        return np.asarray(self._place[self._which])

    def look_up(self, hashes: Hashes, first: int, *, keep: bool) -> tuple[Any, Any, Any] | None:
        """Note which windows stand in a stretch of the text that begins at `first`.

        Returns:
            Where `keep`, all that were found: passage, start there, place in the text; what was found once is looked for
            again only then.
        """
        candidates = np.flatnonzero(self._table[hashes >> np.uint64(64 - TABLE_BITS)])
        if not len(candidates):
            return None
        distinct = np.searchsorted(self._distinct, hashes[candidates])
        is_found = self._distinct[np.minimum(distinct, len(self._distinct) - 1)] == hashes[candidates]
        distinct, places = distinct[is_found], candidates[is_found] + first
        fresh, where = np.unique(distinct, return_index=True)
        is_new = self._place[fresh] < 0
        self._place[fresh[is_new]] = places[where[is_new]]
        if not keep:
            self._forget()
            return None
        repeats = self._counts[distinct]
        offsets = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        windows = self._order[np.repeat(self._first[distinct], repeats) + offsets]
        return self.passage[windows], self.start[windows], np.repeat(places, repeats)

    def _forget(self) -> None:
        """Look no more for what was found."""
        self._table[:] = False
        self._table[self._distinct[self._place < 0] >> np.uint64(64 - TABLE_BITS)] = True


class _Runs:
    """The longest runs of windows that follow each other both in a passage and in the text."""

    def __init__(self, num_passages: int) -> None:
        self.best = [(0, 0, -1)] * num_passages
        """Windows in a row, start in the passage, place in the text."""
        self._open: dict[tuple[int, int], tuple[int, int]] = {}
        """Runs that end where a stretch of the text does: (passage, start - place) -> next place, windows so far."""

    def add(self, passage: Ids, start: Ids, place: Ids) -> None:
        """Take what was found in the next stretch of the text."""
        diagonal = start - place
        order = np.lexsort((place, diagonal, passage))
        passage, start, place, diagonal = passage[order], start[order], place[order], diagonal[order]
        begins = np.ones(len(place), dtype=bool)
        begins[1:] = (np.diff(passage) != 0) | (np.diff(diagonal) != 0) | (np.diff(place) != 1)
        firsts = np.flatnonzero(begins)
        lengths = np.diff(np.append(firsts, len(place)))
        still_open: dict[tuple[int, int], tuple[int, int]] = {}
        for row, length in zip(firsts.tolist(), lengths.tolist(), strict=True):
            number, key = int(passage[row]), (int(passage[row]), int(diagonal[row]))
            next_place, before = self._open.get(key, (-1, 0))
            total = length + (before if next_place == place[row] else 0)
            if total > self.best[number][0]:
                self.best[number] = (total, int(start[row]) - (total - length), int(place[row]) - (total - length))
            still_open[key] = (int(place[row]) + length, total)
        self._open = still_open


def _summary(number: int, searched: Sequence[_Windows], runs: _Runs) -> Copied:
    """Put together what was found for one passage."""
    shares, longest = [], (0, 0, None)
    for order, windows in enumerate(searched, start=1):
        own = windows.passage == number
        place = windows.place[own]
        shares.append(float(np.mean(place >= 0)) if len(place) else float("nan"))
        if (place >= 0).any():
            start = int(np.argmax(place >= 0))
            longest = (order, start, int(place[start]))  # type: ignore[assignment]
    in_a_row, start, place = runs.best[number]
    if in_a_row:
        return Copied(in_a_row + ORDERS - 1, start, place, tuple(shares))
    return Copied(*longest, tuple(shares))
