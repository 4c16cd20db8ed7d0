import numpy as np
import pytest

from charnn.ngrams.contexts import KEY_BITS, EmptyFamily, LaggedFamily, shifts_of
from charnn.ngrams.word_contexts import Letters, WordFamily

TOKENS = ("<unk>", "a", "b", "A", "B", "'", " ", "\n")
ID = {token: id for id, token in enumerate(TOKENS)}
BOUNDARY = ID["\n"]
LETTERS = Letters.of(TOKENS)


def ids_of(text):
    return np.array([ID[character] for character in text])


def families(*, is_cut):
    return {
        "lags 1 2 3": LaggedFamily((1, 2, 3), 4, BOUNDARY, is_cut),
        "lags 2 4": LaggedFamily((2, 4), 4, BOUNDARY, is_cut),
        "two words before": WordFamily(LETTERS, (1, 2), BOUNDARY, is_cut),
        "the word before last": WordFamily(LETTERS, (2,), BOUNDARY, is_cut),
        "nothing": EmptyFamily(),
        "no words before": WordFamily(LETTERS, (), BOUNDARY, is_cut),
    }


def digits_of(key, widths):
    return [key >> shift & ((1 << width) - 1) for width, shift in zip(widths, shifts_of(widths), strict=True)]


def followed(family, ids):
    """Return the keys of the contexts of each token, read one after the other."""
    cursor, keys = family.cursor(), []
    cursor.push(BOUNDARY)
    for id in ids.tolist():
        keys.append(cursor.key())
        cursor.push(id)
    return keys


@pytest.mark.parametrize("is_cut", [False, True], ids=["running", "units"])
@pytest.mark.parametrize("name", families(is_cut=True))
def test_a_cursor_has_the_keys_of_the_whole_text(name, is_cut):
    family = families(is_cut=is_cut)[name]
    ids = np.random.default_rng(4).choice(len(TOKENS), 400, p=[0.02, 0.25, 0.25, 0.1, 0.1, 0.03, 0.15, 0.1])
    keys = family.keys(ids).tolist()
    assert followed(family, ids) == keys
    assert max(keys) < 1 << KEY_BITS
    for number in (0, 1, 2, 5):
        assert family.keys(ids[:number]).tolist() == keys[:number]


def test_the_digits_of_lags_are_the_tokens_at_these_distances():
    family = LaggedFamily((1, 3), 4, BOUNDARY, is_cut=True)
    keys = family.keys(ids_of("ab\nba"))
    end, a, b = (ID[token] + 1 for token in "\nab")
    assert [digits_of(key, family.widths) for key in keys.tolist()] == [[end, 0], [a, 0], [b, end], [end, 0], [b, 0]]
    running = LaggedFamily((1, 3), 4, BOUNDARY, is_cut=False)
    assert digits_of(int(running.keys(ids_of("ab\nba"))[-1]), running.widths) == [b, b]


def word_digits(text, *, is_cut=False):
    """Return the digits of the context after a text."""
    family = WordFamily(LETTERS, (1, 2), BOUNDARY, is_cut)
    return digits_of(int(family.keys(ids_of(text + "a"))[-1]), family.widths)


def test_words_are_the_same_in_both_cases_and_after_any_other_text():
    assert word_digits("a bA") == word_digits("A  \nBa")
    assert word_digits("ab")[0] != word_digits("ba")[0]
    assert word_digits("b a'b")[1] == word_digits("b ")[1] or word_digits("b a'b")[1] != 0
    assert word_digits("b ab ")[0] == word_digits("ab ")[0] != word_digits("ab\n")[0]


def test_words_before_are_the_last_ones_that_ended_and_none_of_another_unit():
    _, last, before = word_digits("ab ba a")
    assert last != before
    assert word_digits("ab  ba b")[1:] == [last, before]
    assert word_digits("ba b")[2] == 0
    _, last_cut, before_cut = word_digits("ab\nba a", is_cut=True)
    assert (last_cut, before_cut) == (last, 0)
    assert word_digits("ab\na", is_cut=True)[1:] == [0, 0]


def test_bytes_of_longer_characters_are_letters():
    letters = Letters.of(("a", "<0xC3>", "<0x09>", "<unk>", "\u00e9", "7"))
    assert [code > 0 for code in letters.codes] == [True, True, False, False, True, False]
