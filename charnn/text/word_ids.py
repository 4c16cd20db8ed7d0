"""Fast encoding of words of long texts, equal to `split_words`, with a cache of fragments.

Most fragments between two spaces repeat. So a text is split at its white space only, the ids of all fragments are looked up
together (see `fragments.py`), and the gaps that need tokens are handled for all fragments in one vectorized operation.
"""

import functools
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.text.fragments import Cut, FragmentNumbers, Integers, blocks
from charnn.text.pretokenized import has_marks, marked_words
from charnn.text.vocabulary import NEWLINE
from charnn.text.words import LATEST, WordRules, expected_gap, split_words

MAX_CACHED_FRAGMENTS = 1 << 19
"""Maximum number of cached fragments; if there are more, the cache is cleared."""
_FRAGMENT_ENDINGS = frozenset(",.;:!?")
_ANY_WORD = "a"


class _Fragments:
    """The fragments of texts, in order of appearance, with the ids of their tokens.

    Attributes:
        numbers: finds the fragments of a text.
        ids: ids of all fragments, concatenated.
        starts: index of the first id of each fragment in `ids`, then their number.
        bits: rules for the gaps around each fragment (see `_bits_before` and `_bits_after`).
        gaps: the id of each gap, by its bytes.
    """

    def __init__(self, id_of: Callable[[str], int], rules: WordRules) -> None:
        self._id_of, self._rules = id_of, rules
        self._word_bits = self._bits(_ANY_WORD, _ANY_WORD)
        self.ids = array("q")
        self.starts = array("q", [0])
        self.bits = array("B")
        self.gaps: dict[bytes, int] = {}
        self._add([NEWLINE], self._bits(NEWLINE, NEWLINE))
        self.numbers = FragmentNumbers()

    def __len__(self) -> int:
        return len(self.bits) + len(self.gaps)

    def id_of_gap(self, gap: bytes) -> int:
        """Return the id of white space."""
        id = self.gaps.get(gap)
        if id is None:
            id = self.gaps[gap] = self._id_of(gap.decode())
        return id

    def add(self, fragment: str) -> int:
        """Return the number of a new fragment."""
        if fragment.isalpha():
            return self._add([fragment], self._word_bits)
        first, last = fragment[0], fragment[-1]
        if last in _FRAGMENT_ENDINGS and fragment[:-1].isalpha():
            tokens = [fragment[:-1], last]
        else:
            tokens = [word for word, _ in split_words(fragment, self._rules)]
            first, last = tokens[0], tokens[-1]
        return self._add(tokens, self._bits(first, last))

    def _add(self, tokens: list[str], bits: int) -> int:
        self.ids.extend([self._id_of(token) for token in tokens])
        self.starts.append(len(self.ids))
        self.bits.append(bits)
        return len(self.bits) - 1

    def _bits(self, first: str, last: str) -> int:
        """Return the bits of a fragment by its first and last token; all that begin with a letter or digit are alike."""
        before, after = (_ANY_WORD if token[0].isalnum() else token for token in (last, first))
        return _bits_before(before, self._rules) | _bits_after(after, self._rules)


_ALL, _CLOSING, _QUOTE_AND_CLOSING = 1, 2, 4
"""The rules by which no gap is expected between two tokens: each has a bit for the left one and, shifted, one for the right."""
_ANY_RULE, _SHIFT = 7, 3


@functools.lru_cache(maxsize=1 << 10)
def _bits_before(last: str, rules: WordRules) -> int:
    """Return the bits of a token that stands before a gap.

    `expected_gap` is asked about three neighbors that represent all others: a word, a closing mark and a quote.
    """
    bits = _CLOSING
    if expected_gap(last, _ANY_WORD, rules) == "":
        bits |= _ALL
    if expected_gap(last, '"', rules) == "":
        bits |= _QUOTE_AND_CLOSING
    return bits


@functools.lru_cache(maxsize=1 << 10)
def _bits_after(first: str, rules: WordRules) -> int:
    """Return the bits of a token that stands after a gap."""
    bits = _ALL
    if expected_gap(_ANY_WORD, first, rules) == "":
        bits |= _CLOSING
    if expected_gap(",", first, rules) == "":
        bits |= _QUOTE_AND_CLOSING
    return bits << _SHIFT


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
        parts = [self._encode_block(block) for block in blocks(text)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _encode_block(self, block: str) -> Integers:
        if len(self._fragments) > MAX_CACHED_FRAGMENTS:
            self._fragments = _Fragments(self._id_of, self._rules)
        return self._assemble(self._fragments.numbers.cut(block, self._fragments.add))

    def _assemble(self, cut: Cut) -> Integers:
        """Return the ids of fragments (N,), each preceded by the id of its gap unless that is the expected one."""
        bits = _view(self._fragments.bits, np.uint8)[cut.numbers]
        expects_space = np.zeros(len(bits) + 1, dtype=bool)  # before each fragment, and at the end
        expects_space[1:-1] = bits[:-1] & (bits[1:] >> _SHIFT) & _ANY_RULE == 0
        ids, lengths = _concatenated(self._fragments.ids, self._fragments.starts, cut.numbers)
        gap_positions, gap_ids = self._unexpected_gaps(cut, expects_space)
        if not gap_ids:
            return ids
        return np.insert(ids, np.append(0, np.cumsum(lengths))[gap_positions], gap_ids)

    def _unexpected_gaps(self, cut: Cut, expects_space: npt.NDArray[np.bool_]) -> tuple[Integers, list[int]]:
        """Return the gaps that are tokens: the position of the fragment after each, and its id."""
        begins, stops = np.append(0, cut.ends), np.append(cut.starts, len(cut.data))
        ends_in_space = np.frombuffer(cut.data, dtype=np.uint8)[stops - 1] == ord(" ")
        is_expected = expects_space & (stops - begins == 1) & ends_in_space
        positions = np.flatnonzero((begins < stops) & ~is_expected)
        spans = zip(begins[positions].tolist(), stops[positions].tolist(), strict=True)
        return positions, [self._fragments.id_of_gap(cut.data[begin:stop]) for begin, stop in spans]


def _concatenated(ids: "array[int]", starts: "array[int]", numbers: Integers) -> tuple[Integers, Integers]:
    """Return the ids of some fragments (N,), and how many each has (M,)."""
    start_of = _view(starts, np.int64)
    firsts = start_of[numbers]
    lengths = start_of[numbers + 1] - firsts
    sources = np.repeat(firsts - np.cumsum(lengths) + lengths, lengths)
    sources += np.arange(len(sources))
    return _view(ids, np.int64)[sources], lengths


def _view(values: "array[int]", dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.frombuffer(values, dtype=dtype)


class PretokenizedEncoder:
    """Encodes words separated by white space, and line ends.

    Args:
        id_of: returns the id of a token.
        unit: decides what a mark in the text is; None to read none.
    """

    def __init__(self, id_of: Callable[[str], int], unit: Unit | None = None) -> None:
        self._id_of, self._unit = id_of, unit
        self._words = _Words(id_of)

    def encode(self, text: str) -> Integers:
        """Return the ids (N,) of words and line ends, and of marks where these are read."""
        if self._unit is not None and has_marks(text):
            words = [word for word, _ in marked_words(text, self._unit)]
            return np.fromiter(map(self._id_of, words), dtype=np.int64, count=len(words))
        parts = [self._encode_block(block) for block in blocks(text)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _encode_block(self, block: str) -> Integers:
        if len(self._words.ids) > MAX_CACHED_FRAGMENTS:
            self._words = _Words(self._id_of)
        numbers = self._words.numbers.cut(block, self._words.add).numbers
        return _view(self._words.ids, np.int64)[numbers]


class _Words:
    """The words of pretokenized texts in order of appearance, with their ids."""

    def __init__(self, id_of: Callable[[str], int]) -> None:
        self.ids = array("q", [id_of(NEWLINE)])
        self._id_of = id_of
        self.numbers = FragmentNumbers()

    def add(self, word: str) -> int:
        """Return the number of a new word."""
        self.ids.append(self._id_of(word))
        return len(self.ids) - 1
