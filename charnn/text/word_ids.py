"""Words of long texts as ids, a million characters at a time: what `split_words` finds, by looking chunks up.

Most of what stands between two spaces has stood there before. So a text is cut at its spaces and line ends alone, each chunk is
looked up in a dictionary, and what remains, the gaps that need tokens of their own, is done for all chunks at once.
"""

import functools
import re
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.text.vocabulary import NEWLINE
from charnn.text.words import expected_gap, split_words

MOST_CHUNKS = 1 << 19
"""Chunks that are remembered; where there are more, all are forgotten."""
_NO_GAP, _NO_CHUNK = -1, 1
_OTHER_SPACES = re.compile(r"[^\S\n ]")
_PARTS = re.compile(r"\n|[^\S\n]++|\S++")
_ENDS_A_CHUNK = frozenset(",.;:!?")
_LINE_END_MARK = "\ufdd0"  # a code point that is no character and never will be
PRETOKENIZED_WORD = re.compile(r"\n|\S+")

Integers = npt.NDArray[np.int64]


class _Chunks(dict[str, int]):
    """Numbers chunks (runs with or without white space) in order of appearance, and knows the ids of the tokens in each.

    Attributes:
        ids: those of all chunks, one chunk after the other.
        starts: where each chunk's ids begin in `ids`, and where the last one's end.
        bits: what each chunk asks of the gaps around it (see `_bits`).
    """

    def __init__(self, id_of: Callable[[str], int]) -> None:
        super().__init__()
        self._id_of = id_of
        self.ids = array("q")
        self.starts = array("q", [0])
        self.bits = array("B")
        self._add(NEWLINE, [NEWLINE])
        self._add("", [])  # stands for the end of the text, which has no token

    def __missing__(self, chunk: str) -> int:
        if chunk.isalpha():
            number = self[chunk] = len(self.bits)
            self.ids.append(self._id_of(chunk))
            self.starts.append(len(self.ids))
            self.bits.append(_BITS_OF_A_WORD)
            return number
        if chunk[-1] in _ENDS_A_CHUNK and chunk[:-1].isalpha():
            return self._add(chunk, [chunk[:-1], chunk[-1]])
        return self._add(chunk, [word for word, _ in split_words(chunk)])

    def _add(self, chunk: str, tokens: list[str]) -> int:
        number = self[chunk] = len(self.bits)
        self.ids.extend([self._id_of(token) for token in tokens])
        self.starts.append(len(self.ids))
        first, last = (tokens[0], tokens[-1]) if tokens else (NEWLINE, NEWLINE)
        self.bits.append(_bits_before(last) | _bits_after(first) | (_IS_GAP if _is_gap(chunk) else 0))
        return number


_ALL, _CLOSING, _QUOTE_AND_CLOSING = 1, 2, 4
"""The rules by which no gap is expected between two tokens: each has a bit for the left one and, shifted, one for the right."""
_ANY_RULE, _SHIFT, _IS_GAP = 7, 3, 64


@functools.lru_cache(maxsize=1 << 10)
def _bits_before(last: str) -> int:
    """Return the bits of a token that stands before a gap.

    `expected_gap` is asked about three neighbours that stand for all others: a word, a closing mark and a quote.
    """
    bits = _CLOSING
    if expected_gap(last, "a") == "":
        bits |= _ALL
    if expected_gap(last, '"') == "":
        bits |= _QUOTE_AND_CLOSING
    return bits


@functools.lru_cache(maxsize=1 << 10)
def _bits_after(first: str) -> int:
    """Return the bits of a token that stands after a gap."""
    bits = _ALL
    if expected_gap("a", first) == "":
        bits |= _CLOSING
    if expected_gap(",", first) == "":
        bits |= _QUOTE_AND_CLOSING
    return bits << _SHIFT


_BITS_OF_A_WORD = _bits_before("a") | _bits_after("a")


def _is_gap(chunk: str) -> bool:
    return chunk.isspace() and chunk != NEWLINE


class WordEncoder:
    """Gives the ids of a text's words, line ends and unexpected gaps.

    Args:
        id_of: a token's id.
    """

    def __init__(self, id_of: Callable[[str], int]) -> None:
        self._id_of = id_of
        self._chunks = _Chunks(id_of)

    def encode(self, text: str) -> Integers:
        """Return the ids (N,) of what `split_words` finds in a text."""
        if len(self._chunks) > MOST_CHUNKS:
            self._chunks = _Chunks(self._id_of)
        cut = self._cut_anywhere if _OTHER_SPACES.search(text) else self._cut_at_spaces
        return self._assemble(*cut(text))

    def _cut_at_spaces(self, text: str) -> tuple[Integers, Integers]:
        """Return the chunks (M,) of a text without other white space than spaces and line ends, and the gaps before them (M,).

        Each line end is made a chunk of its own with a space on either side, which is no gap.
        """
        parts = text.replace("\n", " \n ").split(" ")
        chunks = self._numbers(parts)
        places = np.flatnonzero(chunks != _NO_CHUNK)
        chunks, places = np.append(chunks[places], _NO_CHUNK), np.append(places, len(parts))
        is_line_end = (chunks == 0) | (chunks == _NO_CHUNK)
        follows_line_end = np.concatenate([[True], is_line_end[:-1]])
        num_spaces = np.diff(places, prepend=-1) - is_line_end - follows_line_end
        widths = np.flatnonzero(np.bincount(num_spaces))
        ids = np.full(widths[-1] + 1, _NO_GAP, dtype=np.int64)
        for width in widths[widths > 0].tolist():
            ids[width] = self._id_of(" " * width)
        return chunks, ids[num_spaces]

    def _cut_anywhere(self, text: str) -> tuple[Integers, Integers]:
        """Do the same for a text with any white space."""
        parts = self._numbers(_PARTS.findall(text))
        is_gap = np.append(_view(self._chunks.bits, np.uint8)[parts] & _IS_GAP != 0, False)
        gaps = np.full(len(is_gap) + 1, _NO_GAP, dtype=np.int64)
        gap_parts = parts[is_gap[:-1]]
        gaps[1:][is_gap] = _view(self._chunks.ids, np.int64)[_view(self._chunks.starts, np.int64)[gap_parts]]
        return np.append(parts, _NO_CHUNK)[~is_gap], gaps[:-1][~is_gap]

    def _numbers(self, parts: list[str]) -> Integers:
        return np.fromiter(map(self._chunks.__getitem__, parts), dtype=np.int64, count=len(parts))

    def _assemble(self, chunks: Integers, gaps: Integers) -> Integers:
        """Return the ids of chunks (M,) with those of gaps (M,), where they are not the expected ones, before them."""
        bits = _view(self._chunks.bits, np.uint8)[chunks]
        is_joined = np.concatenate([[True], bits[:-1] & (bits[1:] >> _SHIFT) & _ANY_RULE != 0])
        has_gap = (gaps != _NO_GAP) & (is_joined | (gaps != self._id_of(" ")))
        starts = _view(self._chunks.starts, np.int64)
        firsts = starts[chunks]
        lengths = starts[chunks + 1] - firsts
        ends = np.cumsum(lengths + has_gap)
        is_gap = np.zeros(ends[-1], dtype=bool)
        is_gap[(ends - lengths - 1)[has_gap]] = True
        sources = np.repeat(firsts - np.cumsum(lengths) + lengths, lengths)
        sources += np.arange(len(sources))
        ids = np.empty(len(is_gap), dtype=np.int64)
        ids[is_gap] = gaps[has_gap]
        ids[~is_gap] = _view(self._chunks.ids, np.int64)[sources]
        return ids


def _view(values: "array[int]", dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.frombuffer(values, dtype=dtype)


class _Remembered(dict[str, int]):
    """The ids of words, each asked for once."""

    def __init__(self, id_of: Callable[[str], int]) -> None:
        super().__init__()
        self._id_of = id_of

    def __missing__(self, word: str) -> int:
        id = self[word] = self._id_of(word)
        return id


class PretokenizedEncoder:
    """Gives the ids of what white space separates, and of line ends.

    Args:
        id_of: a token's id.
    """

    def __init__(self, id_of: Callable[[str], int]) -> None:
        self._ids = _Remembered(id_of)

    def encode(self, text: str) -> Integers:
        """Return the ids (N,) of what `PRETOKENIZED_WORD` finds in a text."""
        if len(self._ids) > MOST_CHUNKS:
            self._ids.clear()
        if _LINE_END_MARK in text:
            parts = PRETOKENIZED_WORD.findall(text)
            self._ids.pop(_LINE_END_MARK, None)  # here it is a word
        else:
            parts = text.replace("\n", f" {_LINE_END_MARK} ").split()
            self._ids[_LINE_END_MARK] = self._ids[NEWLINE]
        return np.fromiter(map(self._ids.__getitem__, parts), dtype=np.int64, count=len(parts))
