import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.text import fragments
from charnn.text.fragments import LONGEST_KEY, WIDE_SPACES, FragmentNumbers, blocks
from charnn.text.pretokenized import WORD

PARTS = st.sampled_from(["a", "ab", "\0", "é", "\ud800", "𝔸", "x" * 7, " ", " ", "\n", "\t", "\u3000", "\x85"])


def names_of(numbers, text, names):
    """Return the fragments of a text by their numbers, for which new ones are added to names."""

    def add(fragment):
        names.append(fragment)
        return len(names) - 1

    cut = numbers.cut(text, add)
    spans = zip(cut.starts.tolist(), cut.ends.tolist(), strict=True)
    assert [cut.data[start:end].decode("utf-8", "surrogatepass") for start, end in spans] == WORD.findall(text)
    return [names[number] for number in cut.numbers.tolist()]


@given(st.lists(st.lists(PARTS, max_size=60).map("".join), max_size=4))
def test_a_fragment_has_the_same_number_wherever_it_occurs(texts):
    numbers, names = FragmentNumbers(), ["\n"]
    for text in texts:
        assert names_of(numbers, text, names) == WORD.findall(text)
    assert len(set(names)) == len(names), "no fragment is added twice"


def test_fragments_that_differ_only_in_length_or_in_their_last_byte_are_different():
    words = [
        word for length in range(1, LONGEST_KEY + 3) for word in ("a" * length, "a" * (length - 1) + "b", "\0" * length)
    ]
    numbers, names = FragmentNumbers(), ["\n"]
    for start in range(9):
        assert names_of(numbers, " " * start + " ".join(words), names) == words
    assert len(names) == 1 + len(words)


@pytest.mark.parametrize("factor", [0, 1], ids=["all-collide", "spread"])
def test_fragments_are_found_although_they_collide_and_the_table_grows(factor, monkeypatch):
    monkeypatch.setattr(fragments, "_FACTORS", [np.uint64(factor * 0x9E3779B97F4A7C15)] * 3)
    words = [str(number) for number in range(500 if factor == 0 else 6000)]
    numbers, names = FragmentNumbers(), ["\n"]
    for first in range(0, len(words), 400):
        assert names_of(numbers, " ".join(words[: first + 400]), names) == words[: first + 400]
    assert len(numbers) == len(words)


def test_white_space_is_what_python_takes_for_it():
    assert set(WIDE_SPACES) == {chr(code) for code in range(0x80, sys.maxunicode + 1) if chr(code).isspace()}


@given(st.text(alphabet="ab\n"), st.integers(0, 4))
def test_blocks_end_at_line_ends(text, num_chars):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fragments, "BLOCK_CHARS", num_chars)
        parts = list(blocks(text))
    assert "".join(parts) == text
    assert all(part.endswith("\n") for part in parts[:-1])
    assert all(part.find("\n", num_chars) in (-1, len(part) - 1) for part in parts)
