"""Memorization: how much of a generated text is copied from the training text.

The training text is read in a single sequential pass. Rolling hashes of its n-grams are looked up among those of the passages.
Segments of held-out text of the same length are measured in the same way, as a baseline for the overlap without copying. If no
text was held out, segments of the training text are compared with the rest of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[Any]
Hashes = npt.NDArray[np.uint64]

ORDERS = 16
"""Maximum order of n-grams that are looked up; longer spans are found as runs of these."""
TABLE_BITS = 20
MAX_REPEATS = 8
"""Maximum number of identical n-grams in the passages that are followed up: in a repetitive passage, further ones only lead to
the same spans."""
TOKENS_AT_ONCE = 1 << 18
NUM_SEGMENTS = 16
MAX_FRACTION_COMPARED = 0.25
"""Maximum fraction of the training text that is used as segments if no text was held out."""
HELD_OUT_FACTOR, MIN_FRACTION_COPIED = 2.0, 0.25
"""A sample counts as copied if its longest copied span exceeds the longest one of held-out text by this factor, or if its
fraction of copied n-grams of the maximum order exceeds that of held-out text by this factor, and exceeds the minimum."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Copied:
    """The overlap of a passage with a text.

    Args:
        length: number of tokens in the longest common span.
        start: start of the span in the passage.
        place: first position of the span in the text; None if the length is 0.
        shares: for each order 1, 2, ..., the fraction of the passage's n-grams that occur in the text; NaN if it has none.
    """

    length: int
    start: int
    place: int | None
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Memorization:
    """How much of a sample is copied from the training text.

    Args:
        copied: the overlap of the sample with the training text.
        held_out: the overlaps of the reference segments: segments of held-out text with the training text or, if no text was
            held out, segments of the training text with the rest of it. Empty if the training text is too short.
        reference: the text from which the reference segments are taken.
        piece_length: length of a reference segment, in tokens.
        line: line of the training text in which the longest copied span begins, from 1.
    """

    copied: Copied
    held_out: tuple[Copied, ...]
    reference: Literal["held-out text", "the rest of the training text"]
    piece_length: int
    line: int | None

    @property
    def held_out_length(self) -> int | None:
        """Length of the longest span of a reference segment that occurs in the training text."""
        return max((segment.length for segment in self.held_out), default=None)

    @property
    def is_copied(self) -> bool | None:
        """Whether the sample has a much longer copied span, or many more copied n-grams, than any reference segment.

        None if there is no reference segment.
        """
        held_out = self.held_out_length
        if held_out is None:
            return None
        most = max((segment.shares[-1] for segment in self.held_out if not np.isnan(segment.shares[-1])), default=0.0)
        copies_more = self.copied.shares[-1] > max(HELD_OUT_FACTOR * most, MIN_FRACTION_COPIED)
        return bool(copies_more or self.copied.length > HELD_OUT_FACTOR * held_out)

    def held_out_share(self, order: int) -> float:
        """Return the mean fraction of n-grams of an order in the reference segments that occur in the training text."""
        shares = [segment.shares[order - 1] for segment in self.held_out]
        known = [share for share in shares if not np.isnan(share)]
        return float(np.mean(known)) if known else float("nan")


def measure_memorization(
    samples: Sequence[Sequence[int] | Ids], training: Ids, held_out: Ids, *, newline_id: int | None
) -> list[Memorization]:
    """Measure how much of each sample is copied, in one pass over the training text.

    Args:
        samples: the ids of each sample (N,).
        training, held_out: encoded texts (M,), memory-mapped or not.
        newline_id: id of the newline, for the line number of a copied span.

    Example:
        >>> training = charnn.api.open_ids(model.path / "train.bin", model.tokenizer)
        >>> held_out = charnn.api.open_ids(model.path / "valid.bin", model.tokenizer)
        >>> sample = model.sample("The fox", length=200)
        >>> charnn.api.measure_memorization([sample.ids], training, held_out, newline_id=None)[0].is_copied
    """
    arrays: list[Ids] = [np.asarray(sample, dtype=np.int64) for sample in samples]
    lengths = sorted(map(len, arrays))
    size = lengths[len(lengths) // 2] if lengths else 0
    if len(held_out):
        segments = [held_out[segment] for segment in _segments(len(held_out), size, NUM_SEGMENTS)]
        overlaps = find_copies([*arrays, *segments], training)
        own, others = overlaps[: len(samples)], overlaps[len(samples) :]
    else:
        affordable = int(len(training) * MAX_FRACTION_COMPARED) // size if size else 0
        positions = _segments(len(training), size, min(NUM_SEGMENTS, affordable))
        own = find_copies(arrays, training)
        others = find_copies([training[position] for position in positions], training, excluded=positions)
    compared: Literal["held-out text", "the rest of the training text"]
    compared = "held-out text" if len(held_out) else "the rest of the training text"
    lines = _lines(training, [copied.place for copied in own], newline_id)
    return [
        Memorization(copied, tuple(others), compared, min(size, len(held_out) or size), line)
        for copied, line in zip(own, lines, strict=True)
    ]


def _segments(length: int, size: int, number: int) -> list[slice]:
    """Return evenly spaced segments of a text."""
    if not size or not length or not number:
        return []
    starts = np.unique(np.linspace(0, max(0, length - size), number).astype(np.int64))
    return [slice(start, start + size) for start in starts.tolist()]


def _lines(training: Ids, positions: Sequence[int | None], newline_id: int | None) -> list[int | None]:
    """Return the line number of each position, from 1, in one pass."""
    if newline_id is None:
        return [None] * len(positions)
    line_of: dict[int, int] = {}
    line, read = 1, 0
    for position in sorted({position for position in positions if position is not None}):
        while read < position:
            stop = min(read + TOKENS_AT_ONCE, position)
            line += int(np.count_nonzero(training[read:stop] == newline_id))
            read = stop
        line_of[position] = line
    return [None if position is None else line_of[position] for position in positions]


def find_copies(passages: Sequence[Ids], text: Ids, *, excluded: Sequence[slice] = ()) -> list[Copied]:
    """Return the overlap of each passage with a text, by 64-bit hashes.

    Args:
        excluded: segments of the text to skip.
    """
    searched = [_Windows(passages, order) for order in range(1, ORDERS + 1)]
    runs = _Runs(len(passages))
    for first in range(0, len(text), TOKENS_AT_ONCE):
        tokens = np.asarray(text[first : first + TOKENS_AT_ONCE + ORDERS - 1]).astype(np.uint64) + np.uint64(1)
        for position in excluded:
            tokens[max(0, position.start - first) : max(0, position.stop - first)] = 0
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
    return [_summary(number, passage, text, searched, runs, excluded) for number, passage in enumerate(passages)]


def window_hashes(ids: Ids, order: int) -> Hashes:
    """Return the hash of each n-gram of `order` tokens (N - order + 1,)."""
    tokens = np.asarray(ids).astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(max(0, len(tokens) - order + 1), dtype=np.uint64)
    for offset in range(order):
        hashes *= _MULTIPLIER
        hashes += tokens[offset : offset + len(hashes)]
    return hashes


class _Windows:
    """The n-grams of one order in all passages, to be looked up in a text."""

    def __init__(self, passages: Sequence[Ids], order: int) -> None:
        per_passage = [window_hashes(passage, order) for passage in passages]
        self.passage = np.repeat(np.arange(len(passages)), [len(hashes) for hashes in per_passage])
        self._ends = np.cumsum([0, *(len(hashes) for hashes in per_passage)])
        self.start = np.concatenate([np.arange(len(hashes)) for hashes in per_passage] or [np.zeros(0, dtype=np.int64)])
        every = np.concatenate(per_passage or [np.zeros(0, dtype=np.uint64)])
        self._order = np.argsort(every, kind="stable")
        self._distinct, self._first, counts = np.unique(every[self._order], return_index=True, return_counts=True)
        self._counts = counts
        self._which = np.zeros(len(every), dtype=np.int64)
        self._which[self._order] = np.repeat(np.arange(len(counts)), counts)
        self._first_position = np.full(len(self._distinct), -1, dtype=np.int64)
        self._table = np.zeros(1 << TABLE_BITS, dtype=bool)
        self._table[self._distinct >> np.uint64(64 - TABLE_BITS)] = True

    def positions(self, number: int) -> npt.NDArray[np.int64]:
        """Return the first position in the text of each window of a passage, -1 if it does not occur."""
        return np.asarray(self._first_position[self._which[self._ends[number] : self._ends[number + 1]]])

    def look_up(self, hashes: Hashes, first: int, *, keep: bool) -> tuple[Any, Any, Any] | None:
        """Record which windows occur in a segment of the text that begins at `first`.

        Args:
            keep: look up all occurrences of each window, instead of only the first one.

        Returns:
            With `keep`, all occurrences: passages, starts in the passages, positions in the text; otherwise None.
        """
        candidates = np.flatnonzero(self._table[hashes >> np.uint64(64 - TABLE_BITS)])
        if not len(candidates):
            return None
        distinct = np.searchsorted(self._distinct, hashes[candidates])
        is_found = self._distinct[np.minimum(distinct, len(self._distinct) - 1)] == hashes[candidates]
        distinct, positions = distinct[is_found], candidates[is_found] + first
        distinct_windows, where = np.unique(distinct, return_index=True)
        is_new = self._first_position[distinct_windows] < 0
        self._first_position[distinct_windows[is_new]] = positions[where[is_new]]
        if not keep:
            self._exclude_found()
            return None
        repeats = np.minimum(self._counts[distinct], MAX_REPEATS)
        offsets = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        windows = self._order[np.repeat(self._first[distinct], repeats) + offsets]
        return self.passage[windows], self.start[windows], np.repeat(positions, repeats)

    def _exclude_found(self) -> None:
        """Exclude the windows that have been found from further lookups."""
        self._table[:] = False
        self._table[self._distinct[self._first_position < 0] >> np.uint64(64 - TABLE_BITS)] = True


class _Runs:
    """The longest runs of windows that are consecutive both in a passage and in the text."""

    def __init__(self, num_passages: int) -> None:
        self.best = [(0, 0, -1)] * num_passages
        """Number of windows, start in the passage, position in the text."""
        self._open: dict[tuple[int, int], tuple[int, int]] = {}
        """Runs that may continue in the next segment: (passage, position - start) -> next position, windows so far."""

    def add(self, passage: Ids, start: Ids, position: Ids) -> None:
        """Add the occurrences in the next segment of the text."""
        diagonal = position - start
        order = np.lexsort((position, diagonal, passage))
        passage, start, position, diagonal = passage[order], start[order], position[order], diagonal[order]
        begins = np.ones(len(position), dtype=bool)
        begins[1:] = (np.diff(passage) != 0) | (np.diff(diagonal) != 0) | (np.diff(position) != 1)
        firsts = np.flatnonzero(begins)
        lengths = np.diff(np.append(firsts, len(position)))
        still_open: dict[tuple[int, int], tuple[int, int]] = {}
        for row, length in zip(firsts.tolist(), lengths.tolist(), strict=True):
            number, key = int(passage[row]), (int(passage[row]), int(diagonal[row]))
            next_position, before = self._open.get(key, (-1, 0))
            total = length + (before if next_position == position[row] else 0)
            if total > self.best[number][0]:
                self.best[number] = (total, int(start[row]) - (total - length), int(position[row]) - (total - length))
            still_open[key] = (int(position[row]) + length, total)
        self._open = still_open


def _summary(
    number: int, passage: Ids, text: Ids, searched: Sequence[_Windows], runs: _Runs, excluded: Sequence[slice]
) -> Copied:
    """Combine the results for one passage."""
    shares: list[float] = []
    length, start, position = 0, 0, -1
    for order, windows in enumerate(searched, start=1):
        positions = windows.positions(number)
        shares.append(float(np.mean(positions >= 0)) if len(positions) else float("nan"))
        if (positions >= 0).any():
            length, start = order, int(np.argmax(positions >= 0))
            position = int(positions[start])
    in_a_row, run_start, run_position = runs.best[number]
    if in_a_row:
        length, start, position = in_a_row + ORDERS - 1, run_start, run_position
    if length:
        end = min((segment.start for segment in excluded if segment.start >= position), default=len(text))
        longer = min(len(passage) - start, end - position)
        differs = np.flatnonzero(
            np.asarray(passage[start : start + longer]) != np.asarray(text[position : position + longer])
        )
        length = int(differs[0]) if len(differs) else longer
    return Copied(length, start, position if length else None, tuple(shares))
