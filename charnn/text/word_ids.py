"""Fast encoding of words of long texts, equal to `split_words`, with a cache of fragments.

Most fragments between two spaces repeat. So a text is split at its spaces and line ends only, the ids of each fragment are
looked up in a dictionary, and the gaps that need tokens are handled for all fragments in one vectorized operation.
"""

import functools
import re
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.text.pretokenized import WORD, has_marks, marked_words
from charnn.text.vocabulary import NEWLINE
from charnn.text.words import LATEST, WordRules, expected_gap, split_words

MAX_CACHED_FRAGMENTS = 1 << 19
"""Maximum number of cached fragments; if there are more, the cache is cleared."""
_NO_GAP, _NO_FRAGMENT = -1, 1
_OTHER_SPACES = re.compile(r"[^\S\n ]")
_PARTS = re.compile(r"\n|[^\S\n]++|\S++")
_FRAGMENT_ENDINGS = frozenset(",.;:!?")
_LINE_END_PLACEHOLDER = "\ufdd0"  # a code point that is permanently not a character

Integers = npt.NDArray[np.int64]


class _Fragments(dict[str, int]):
    """Numbers fragments (runs with or without white space) in order of appearance, and stores the ids of their tokens.

    Attributes:
        ids: ids of all fragments, concatenated.
        starts: index of the first id of each fragment in `ids`, then their number.
        bits: rules for the gaps around each fragment (see `_bits_before` and `_bits_after`).
    """

    def __init__(self, id_of: Callable[[str], int], rules: WordRules) -> None:
        super().__init__()
        self._id_of, self._rules = id_of, rules
        self._word_bits = _bits_before("a", rules) | _bits_after("a", rules)
        self.ids = array("q")
        self.starts = array("q", [0])
        self.bits = array("B")
        self._add(NEWLINE, [NEWLINE])
        self._add("", [])  # represents the end of the text, which has no token

    def __missing__(self, fragment: str) -> int:
        if fragment.isalpha():
            number = self[fragment] = len(self.bits)
            self.ids.append(self._id_of(fragment))
            self.starts.append(len(self.ids))
            self.bits.append(self._word_bits)
            return number
        if fragment[-1] in _FRAGMENT_ENDINGS and fragment[:-1].isalpha():
            return self._add(fragment, [fragment[:-1], fragment[-1]])
        return self._add(fragment, [word for word, _ in split_words(fragment, self._rules)])

    def _add(self, fragment: str, tokens: list[str]) -> int:
        number = self[fragment] = len(self.bits)
        self.ids.extend([self._id_of(token) for token in tokens])
        self.starts.append(len(self.ids))
        first, last = (tokens[0], tokens[-1]) if tokens else (NEWLINE, NEWLINE)
        bits = _bits_before(last, self._rules) | _bits_after(first, self._rules)
        self.bits.append(bits | (_IS_GAP if _is_gap(fragment) else 0))
        return number


_ALL, _CLOSING, _QUOTE_AND_CLOSING = 1, 2, 4
"""The rules by which no gap is expected between two tokens: each has a bit for the left one and, shifted, one for the right."""
_ANY_RULE, _SHIFT, _IS_GAP = 7, 3, 64


@functools.lru_cache(maxsize=1 << 10)
def _bits_before(last: str, rules: WordRules) -> int:
    """Return the bits of a token that stands before a gap.

    `expected_gap` is asked about three neighbors that represent all others: a word, a closing mark and a quote.
    """
    bits = _CLOSING
    if expected_gap(last, "a", rules) == "":
        bits |= _ALL
    if expected_gap(last, '"', rules) == "":
        bits |= _QUOTE_AND_CLOSING
    return bits


@functools.lru_cache(maxsize=1 << 10)
def _bits_after(first: str, rules: WordRules) -> int:
    """Return the bits of a token that stands after a gap."""
    bits = _ALL
    if expected_gap("a", first, rules) == "":
        bits |= _CLOSING
    if expected_gap(",", first, rules) == "":
        bits |= _QUOTE_AND_CLOSING
    return bits << _SHIFT


def _is_gap(fragment: str) -> bool:
    return fragment.isspace() and fragment != NEWLINE


class WordEncoder:
    """Encodes words, line ends and unexpected gaps.

    Args:
        id_of: returns the id of a token.
        rules: how a text is split into words.
    """

    def __init__(self, id_of: Callable[[str], int], rules: WordRules = LATEST) -> None:
        self._id_of, self._rules = id_of, rules
        self._fragments = _Fragments(id_of, rules)

    def encode(self, text: str) -> Integers:
        """Return the ids (N,) of the tokens of `split_words`."""
        if len(self._fragments) > MAX_CACHED_FRAGMENTS:
            self._fragments = _Fragments(self._id_of, self._rules)
        cut = self._cut_anywhere if _OTHER_SPACES.search(text) else self._cut_at_spaces
        return self._assemble(*cut(text))

    def _cut_at_spaces(self, text: str) -> tuple[Integers, Integers]:
        """Return the fragments (M,) of a text whose only white space is spaces and line ends, and the gaps before them (M,).

        Each line end becomes a separate fragment with a space on either side, which is not a gap.
        """
        parts = text.replace("\n", " \n ").split(" ")
        fragments = self._numbers(parts)
        positions = np.flatnonzero(fragments != _NO_FRAGMENT)
        fragments, positions = np.append(fragments[positions], _NO_FRAGMENT), np.append(positions, len(parts))
        is_line_end = (fragments == 0) | (fragments == _NO_FRAGMENT)
        follows_line_end = np.concatenate([[True], is_line_end[:-1]])
        num_spaces = np.diff(positions, prepend=-1) - is_line_end - follows_line_end
        widths = np.flatnonzero(np.bincount(num_spaces))
        ids = np.full(widths[-1] + 1, _NO_GAP, dtype=np.int64)
        for width in widths[widths > 0].tolist():
            ids[width] = self._id_of(" " * width)
        return fragments, ids[num_spaces]

    def _cut_anywhere(self, text: str) -> tuple[Integers, Integers]:
        """Do the same for a text with any white space."""
        parts = self._numbers(_PARTS.findall(text))
        is_gap = np.append(_view(self._fragments.bits, np.uint8)[parts] & _IS_GAP != 0, False)
        gaps = np.full(len(is_gap) + 1, _NO_GAP, dtype=np.int64)
        gap_parts = parts[is_gap[:-1]]
        gaps[1:][is_gap] = _view(self._fragments.ids, np.int64)[_view(self._fragments.starts, np.int64)[gap_parts]]
        return np.append(parts, _NO_FRAGMENT)[~is_gap], gaps[:-1][~is_gap]

    def _numbers(self, parts: list[str]) -> Integers:
        return np.fromiter(map(self._fragments.__getitem__, parts), dtype=np.int64, count=len(parts))

    def _assemble(self, fragments: Integers, gaps: Integers) -> Integers:
        """Return the ids of fragments (M,), each preceded by the id of its gap (M,) unless that is the expected one."""
        bits = _view(self._fragments.bits, np.uint8)[fragments]
        is_joined = np.concatenate([[True], bits[:-1] & (bits[1:] >> _SHIFT) & _ANY_RULE != 0])
        has_gap = (gaps != _NO_GAP) & (is_joined | (gaps != self._id_of(" ")))
        starts = _view(self._fragments.starts, np.int64)
        firsts = starts[fragments]
        lengths = starts[fragments + 1] - firsts
        ends = np.cumsum(lengths + has_gap)
        is_gap = np.zeros(ends[-1], dtype=bool)
        is_gap[(ends - lengths - 1)[has_gap]] = True
        sources = np.repeat(firsts - np.cumsum(lengths) + lengths, lengths)
        sources += np.arange(len(sources))
        ids = np.empty(len(is_gap), dtype=np.int64)
        ids[is_gap] = gaps[has_gap]
        ids[~is_gap] = _view(self._fragments.ids, np.int64)[sources]
        return ids


def _view(values: "array[int]", dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.frombuffer(values, dtype=dtype)


class _CachedIds(dict[str, int]):
    """A cache of the ids of words."""

    def __init__(self, id_of: Callable[[str], int]) -> None:
        super().__init__()
        self._id_of = id_of

    def __missing__(self, word: str) -> int:
        id = self[word] = self._id_of(word)
        return id


class PretokenizedEncoder:
    """Encodes words separated by white space, and line ends.

    Args:
        id_of: returns the id of a token.
        unit: decides what a mark in the text is; None to read none.
    """

    def __init__(self, id_of: Callable[[str], int], unit: Unit | None = None) -> None:
        self._ids, self._unit = _CachedIds(id_of), unit

    def encode(self, text: str) -> Integers:
        """Return the ids (N,) of words and line ends, and of marks where these are read."""
        if len(self._ids) > MAX_CACHED_FRAGMENTS:
            self._ids.clear()
        if self._unit is not None and has_marks(text):
            self._ids.pop(_LINE_END_PLACEHOLDER, None)
            parts = [word for word, _ in marked_words(text, self._unit)]
        elif _LINE_END_PLACEHOLDER in text:
            parts = WORD.findall(text)
            self._ids.pop(_LINE_END_PLACEHOLDER, None)  # here it is a word
        else:
            parts = text.replace("\n", f" {_LINE_END_PLACEHOLDER} ").split()
            self._ids[_LINE_END_PLACEHOLDER] = self._ids[NEWLINE]
        return np.fromiter(map(self._ids.__getitem__, parts), dtype=np.int64, count=len(parts))
