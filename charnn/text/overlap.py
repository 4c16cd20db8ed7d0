"""How much of a held-out text stands in the training text: its lines, or its spans of 32 tokens.

Spans and lines are compared by 64-bit hashes, in one pass over the training text. Of a short text every span counts. Of a long
one, spans are sampled by their content, the same in both texts: those that follow one certain token, or the lines with a
certain remainder of a hash of first token, last token and length. So each span that is looked up is found wherever it stands.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.randomness import splitmix64
from charnn.text.stored_ids import read_block
from charnn.text.vocabulary import Vocabulary

SPAN_TOKENS = 32
MAX_LOOKED_UP = 1 << 16
"""Spans or lines of the held-out text that are looked up, evenly spaced; the standard error of their rate is at most 0.002."""
MIN_LOOKED_UP = 8
EXACT_TOKENS = 1 << 24
"""Tokens of a training text of which every span is looked up, in less than a second."""
SAMPLED_RATE = 1 / 1024
"""Frequency of the token that spans of a long text follow, and fraction of its lines."""
BLOCK_TOKENS = 1 << 20
MAX_LINE_TOKENS = 1 << 22
"""Longer lines are not compared."""
_BASE = np.uint64(0xD1342543DE82EF95)
_TABLE_BITS = 20

Ids = npt.NDArray[Any]
Hashes = npt.NDArray[np.uint64]


class Overlap(NamedTuple):
    """What of a held-out text stands in the training text.

    Args:
        num_looked_up: number of spans or lines that were looked up.
        num_repeated: number of those that the training text has, too.
        num_all: number of all spans or lines of the held-out text.
    """

    num_looked_up: int = 0
    num_repeated: int = 0
    num_all: int = 0

    @property
    def rate(self) -> float:
        """Fraction that is repeated."""
        return self.num_repeated / self.num_looked_up if self.num_looked_up else 0.0


def measure_overlap(train: Ids, valid: Ids, vocabulary: Vocabulary, *, unit: Unit) -> Overlap:
    """Look up the lines of a held-out text (M,) in the training text (N,), or its spans of 32 tokens if its unit is no line.

    Those with unknown tokens are left out, since these may stand for different words.
    """
    boundary_id, unknown_id = vocabulary.boundary_id, vocabulary.unknown_id
    is_long = len(train) > EXACT_TOKENS
    if unit == "line":
        num_all = sum(int(np.count_nonzero(block == boundary_id)) for block in _blocks(valid, 0))
        num_remainders = round(1 / SAMPLED_RATE) if is_long else 1
        wanted = _line_hashes(valid, boundary_id, num_remainders, unknown_id)
        found = _line_hashes(train, boundary_id, num_remainders, None)
    elif is_long:
        num_all = max(0, len(valid) - SPAN_TOKENS + 1)
        token = _token_of_frequency(np.array(vocabulary.counts), SAMPLED_RATE)
        wanted, found = _hashes_after(valid, token, unknown_id), _hashes_after(train, token, None)
    else:
        num_all = len(valid) // SPAN_TOKENS
        wanted = iter([_hashes_at(valid, _spaced(np.arange(num_all) * SPAN_TOKENS), unknown_id)])
        found = map(_window_hashes, _blocks(train, SPAN_TOKENS - 1))
    unseen = _Unseen(np.concatenate([_nothing(), *wanted]))
    for hashes in found:
        unseen.remove(hashes)
    return Overlap(unseen.num_looked_up, unseen.num_found, num_all)


class _Unseen:
    """Hashes of a held-out text, and which of them were found.

    Args:
        hashes: in the order of the text; of too many, evenly spaced ones are looked up.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._distinct, self._numbers = np.unique(_spaced(hashes), return_counts=True)
        self._is_found = np.zeros(len(self._distinct), dtype=bool)
        self._may_be = np.zeros(1 << _TABLE_BITS, dtype=bool)
        self._may_be[self._distinct >> np.uint64(64 - _TABLE_BITS)] = True

    def remove(self, hashes: Hashes) -> None:
        """Mark which hashes the training text has."""
        if not len(self._distinct):
            return
        candidates = hashes[self._may_be[hashes >> np.uint64(64 - _TABLE_BITS)]]
        places = np.minimum(self._distinct.searchsorted(candidates), len(self._distinct) - 1)
        self._is_found[places[self._distinct[places] == candidates]] = True

    @property
    def num_looked_up(self) -> int:
        """Number of hashes."""
        return int(self._numbers.sum())

    @property
    def num_found(self) -> int:
        """Number of those that were found."""
        return int(self._numbers[self._is_found].sum())


def _nothing() -> Hashes:
    return np.zeros(0, dtype=np.uint64)


def _spaced(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return at most `MAX_LOOKED_UP` evenly spaced values."""
    if len(values) <= MAX_LOOKED_UP:
        return values
    return values[np.arange(MAX_LOOKED_UP) * len(values) // MAX_LOOKED_UP]


def _blocks(ids: Ids, more: int) -> Iterator[Ids]:
    """Yield a text in blocks, each with some more tokens after it."""
    for first in range(0, len(ids), BLOCK_TOKENS):
        yield read_block(ids, first, first + BLOCK_TOKENS + more)


def _hashes_at(ids: Ids, starts: npt.NDArray[np.int64], unknown_id: int | None) -> Hashes:
    """Return the hash of the span that begins at each position, except for those with unknown tokens."""
    hashes = np.zeros(len(starts), dtype=np.uint64)
    is_known = np.ones(len(starts), dtype=bool)
    for distance in range(SPAN_TOKENS):
        tokens = np.asarray(ids[starts + distance])
        hashes = hashes * _BASE + tokens.astype(np.uint64)
        if unknown_id is not None:
            is_known &= tokens != unknown_id
    return _mixed(hashes[is_known])


def _window_hashes(ids: Ids) -> Hashes:
    """Return the hash of the span that begins at each position of a text (N,), but the last 31: of 2, 4, 8, 16, 32 tokens."""
    hashes, power, length = ids.astype(np.uint64), int(_BASE), 1
    while length < SPAN_TOKENS:
        if len(hashes) <= length:
            return _nothing()
        hashes = hashes[:-length] * np.uint64(power) + hashes[length:]
        power, length = power * power % (1 << 64), 2 * length
    return _mixed(hashes)


def _mixed(hashes: Hashes) -> Hashes:
    """Return hashes whose highest bits depend on all of them."""
    mixed: Hashes = splitmix64(hashes)
    return mixed


def _token_of_frequency(counts: npt.NDArray[np.int64], frequency: float) -> int:
    """Return the token whose frequency is nearest to the one wanted."""
    frequencies = np.maximum(counts / max(1, counts.sum()), 1e-12)
    return int(np.argmin(np.abs(np.log(frequencies / frequency))))


def _hashes_after(ids: Ids, token: int, unknown_id: int | None) -> Iterator[Hashes]:
    """Yield the hashes of the whole spans that follow a token, except for those with unknown tokens."""
    for block in _blocks(ids, SPAN_TOKENS):
        starts = np.flatnonzero(block[:BLOCK_TOKENS] == token) + 1
        yield _hashes_at(block, starts[starts + SPAN_TOKENS <= len(block)], unknown_id)


def _line_hashes(ids: Ids, boundary_id: int, num_remainders: int, unknown_id: int | None) -> Iterator[Hashes]:
    """Yield the hashes of lines, or of a sample of them (see above); not of lines with unknown tokens."""
    rest = ids[:0]
    for block in _blocks(ids, 0):
        text = np.concatenate([rest, block])
        ends = np.flatnonzero(text == boundary_id)
        if len(ends):
            yield _hashes_of_lines(text, ends, num_remainders, unknown_id)
            text = text[ends[-1] + 1 :]
        rest = text if len(text) < MAX_LINE_TOKENS else text[:0]


def _hashes_of_lines(text: Ids, ends: npt.NDArray[np.int64], num_remainders: int, unknown_id: int | None) -> Hashes:
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if num_remainders > 1:
        last = text[np.maximum(ends - 1, 0)].astype(np.uint64)
        feature = (text[starts].astype(np.uint64) * _BASE + last) * _BASE + lengths.astype(np.uint64)
        is_sampled = _mixed(feature) % np.uint64(num_remainders) == 0
        starts, lengths = starts[is_sampled], lengths[is_sampled]
    if not len(starts):
        return _nothing()
    firsts = np.cumsum(lengths) - lengths
    within = np.arange(lengths.sum()) - np.repeat(firsts, lengths)
    tokens = text[np.repeat(starts, lengths) + within]
    values = _mixed(tokens.astype(np.uint64) * _BASE + within.astype(np.uint64))
    hashes = _mixed(np.add.reduceat(values, firsts))
    return hashes if unknown_id is None else hashes[~np.logical_or.reduceat(tokens == unknown_id, firsts)]
