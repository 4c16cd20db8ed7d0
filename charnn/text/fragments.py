"""Looking up the fragments of a text, which stand between white space, all at once instead of one by one.

The text is handled as UTF-8. The bytes of a fragment are its key: three integers, which a hash table of NumPy arrays finds for
all fragments of a block in a few operations. Fragments that are too long for this are looked up in a dictionary.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

NEWLINE_NUMBER = 0
"""The number of the line end."""
WIDE_SPACES = (
    "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""White space outside ASCII."""
BLOCK_CHARS = 1 << 16
"""Characters handled at a time, up to a line end: what is computed from them stays in the processor's cache."""
LONGEST_KEY = 23
"""Bytes of a fragment that fit its key, beside their number."""
_WORD, _NEWLINE, _SPACE = range(3)
_KINDS = bytes(
    _NEWLINE if code == ord("\n") else _SPACE if code < 0x80 and chr(code).isspace() else _WORD for code in range(256)
)
_WIDE_SPACE = re.compile(b"|".join(character.encode() for character in WIDE_SPACES))
_PADDING = bytes(4 * 8 + 7)
_EMPTY, _NUMBER = 0, 3

Integers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


def _key_masks() -> Keys:
    """Return which bits of three integers belong to the key of a fragment of each length (3, 24)."""
    ones = np.tri(LONGEST_KEY + 1, 3 * 8, -1, dtype=np.uint8) * np.uint8(0xFF)
    return np.ascontiguousarray(ones.view("<u8").T, dtype=np.uint64)


_MASKS = _key_masks()
_LENGTHS = np.arange(LONGEST_KEY + 1, dtype=np.uint64) << np.uint64(56)
_FACTORS = [np.uint64(factor) for factor in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)]


class Cut(NamedTuple):
    """The fragments and line ends of a block, in order.

    Args:
        data: the block in UTF-8.
        numbers: of the fragments (M,).
        starts, ends: where they are in the data (M,).
    """

    data: bytes
    numbers: Integers
    starts: Integers
    ends: Integers


class FragmentNumbers:
    """Numbers the fragments of texts, each with the same number wherever it occurs; the line end has the number 0."""

    def __init__(self) -> None:
        self._short = _HashTable()
        self._long: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    def cut(self, block: str, add: Callable[[str], int]) -> Cut:
        """Cut a block into fragments and line ends.

        Args:
            block: a text.
            add: called with each new fragment; returns its number, which no other has.
        """
        data = block.encode("utf-8", "surrogatepass")
        kinds = np.frombuffer(data.translate(_KINDS), dtype=np.uint8)
        if len(data) != len(block) and _WIDE_SPACE.search(data):
            kinds = kinds.copy()
            for match in _WIDE_SPACE.finditer(data):
                kinds[match.start() : match.end()] = _SPACE
        is_word, is_newline = np.zeros(len(data) + 2, dtype=bool), kinds == _NEWLINE
        np.equal(kinds, _WORD, out=is_word[1:-1])
        starts = np.flatnonzero((is_word[1:-1] > is_word[:-2]) | is_newline)
        ends = np.flatnonzero((is_word[1:-1] > is_word[2:]) | is_newline) + 1
        numbers = self._numbers(data, starts, ends, add)
        return Cut(data, numbers, starts, ends)

    def _numbers(self, data: bytes, starts: Integers, ends: Integers, add: Callable[[str], int]) -> Integers:
        lengths = ends - starts
        is_long = lengths > LONGEST_KEY
        keys = _keys(data, starts, np.minimum(lengths, LONGEST_KEY))
        numbers = self._short.numbers(keys)
        new: dict[bytes, int] = {}
        new_positions: list[int] = []
        positions = np.flatnonzero((numbers < 0) | is_long)
        spans = zip(positions.tolist(), starts[positions].tolist(), ends[positions].tolist(), strict=True)
        for position, start, end in spans:
            fragment = data[start:end]
            known = new if end - start <= LONGEST_KEY else self._long
            number = known.get(fragment)
            if number is None:
                is_newline = fragment == b"\n"
                number = NEWLINE_NUMBER if is_newline else add(fragment.decode("utf-8", "surrogatepass"))
                known[fragment] = number
                if known is new:
                    new_positions.append(position)
            numbers[position] = number
        self._short.insert(keys[:, new_positions], numbers[new_positions])
        return numbers


def blocks(text: str) -> Iterator[str]:
    """Yield a text in blocks that end at line ends."""
    first = 0
    while first < len(text):
        end = text.find("\n", first + BLOCK_CHARS) + 1 or len(text)
        yield text[first:end]
        first = end


def _keys(data: bytes, starts: Integers, lengths: Integers) -> Keys:
    """Return the bytes of fragments as integers, with the length in the highest byte of the third (3, M)."""
    aligned = np.frombuffer(data + _PADDING[: 4 * 8 + -len(data) % 8], dtype="<u8")
    parts = aligned.take((starts >> 3) + np.arange(4)[:, None])
    shifts = ((starts & 7) << 3).astype(np.uint64)
    keys = (parts[:3] >> shifts) | ((parts[1:] << np.uint64(1)) << (np.uint64(63) - shifts))
    keys &= _MASKS.take(lengths, axis=1)
    keys[2] |= _LENGTHS.take(lengths)
    return keys


class _HashTable:
    """Numbers of keys, with open addressing: an array (slots, 4) of keys and of numbers plus one, at most two thirds full."""

    def __init__(self) -> None:
        self._slots = np.zeros((1 << 12, 4), dtype=np.uint64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def numbers(self, keys: Keys) -> Integers:
        """Return the numbers of keys (3, M), -1 for those that are not in the table (M,)."""
        places = self._places(keys)
        numbers, is_other = self._compared(places, keys)
        left = np.flatnonzero(is_other & (numbers >= 0))  # an empty slot ends the search
        places, keys = places[left], keys.take(left, axis=1)
        while len(left):
            places = (places + 1) % len(self._slots)
            numbers[left], is_other = self._compared(places, keys)
            going_on = np.flatnonzero(is_other & (numbers[left] >= 0))
            left, places, keys = left[going_on], places[going_on], keys.take(going_on, axis=1)
        return numbers

    def _compared(self, places: Integers, keys: Keys) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Return the numbers in slots (M,), -1 for empty ones, and which slots hold something other than the keys."""
        rows = self._slots.take(places, axis=0)
        is_other = (rows[:, 0] != keys[0]) | (rows[:, 1] != keys[1]) | (rows[:, 2] != keys[2])
        return rows[:, _NUMBER].astype(np.int64) - 1, is_other

    def insert(self, keys: Keys, numbers: Integers) -> None:
        """Add distinct keys (3, M) that are not in the table yet, with their numbers (M,)."""
        self._size += len(numbers)
        num_slots = len(self._slots)
        while 3 * self._size > 2 * num_slots:
            num_slots *= 2
        if num_slots > len(self._slots):
            used = self._slots[self._slots[:, _NUMBER] != _EMPTY]
            self._slots = np.zeros((num_slots, 4), dtype=np.uint64)
            self._fill(used)
        self._fill(np.column_stack([*keys, (numbers + 1).astype(np.uint64)]))

    def _fill(self, rows: Keys) -> None:
        places = self._places(rows.T)
        while len(rows):
            free = np.flatnonzero(self._slots[places, _NUMBER] == _EMPTY)
            self._slots[places[free]] = rows[free]  # of several for one slot, the last
            is_left = self._slots[places, _NUMBER] != rows[:, _NUMBER]
            rows, places = rows[is_left], (places[is_left] + 1) % len(self._slots)

    def _places(self, keys: Keys) -> Integers:
        """Return the slots at which the search for keys (3, M) begins (M,)."""
        mixed = keys[0] * _FACTORS[0] + keys[1] * _FACTORS[1] + keys[2] * _FACTORS[2]
        mixed = (mixed ^ (mixed >> np.uint64(32))) * _FACTORS[0]
        places: Integers = (mixed >> np.uint64(65 - len(self._slots).bit_length())).astype(np.int64)
        return places
