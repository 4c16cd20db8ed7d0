"""The rows of the word so far: the recurrence, codes of tokens, and what divides words."""

import numpy as np
import pytest
import torch

from charnn.cells.word_prefix import MULTIPLIER, codes_of, next_row, rows_of_words

TOKENS = ("<unk>", " ", "T", "t", "h", "e", "'", "\n", "7", "\u4e2d", "\u0301", "<0x0A>", "<0xC3>")


def test_codes_tell_what_continues_a_word_whatever_its_case():
    codes = dict(zip(TOKENS, codes_of(TOKENS), strict=True))
    assert codes["T"] == codes["t"] == 1 + ord("t")
    assert {token for token, code in codes.items() if code > 0} == {"T", "t", "h", "e", "'", "7", "\u0301", "<0xC3>"}
    assert codes["<0x0A>"] == codes["\n"] == -11
    assert len(set(codes.values())) == len(TOKENS) - 2


@pytest.mark.parametrize("num_rows", [7, 16_381])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 128])
@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_rows_are_hashes_of_the_letters_so_far(xp, length, num_rows):
    array = np.array if xp is np else torch.tensor
    random = np.random.default_rng(length)
    codes_TB = np.array(codes_of(TOKENS))[random.integers(0, len(TOKENS), (length, 4))]
    before_B = np.array([0, 1, 5, 6])
    rows_TB, word_B = rows_of_words(array(codes_TB), array(before_B), num_rows, xp)
    for stream in range(4):
        word = int(before_B[stream])
        for time in range(length):
            code = int(codes_TB[time, stream])
            expected = (word * MULTIPLIER + code if code > 0 else -code) % num_rows
            word = expected if code > 0 else 0
            assert int(rows_TB[time, stream]) == expected
        assert int(word_B[stream]) == word


def test_a_word_has_the_rows_of_its_letters_wherever_it_stands():
    codes = dict(zip(TOKENS, codes_of(TOKENS), strict=True))
    found = []
    for text in ("The", " the", "h the"):
        word = 0
        for character in text:
            row, word = next_row(codes[character], word, 16_381)
        found.append(row)
    assert found[0] == found[1] == found[2]
