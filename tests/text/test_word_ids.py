from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import TextOptions
from charnn.text import word_ids
from charnn.text.pretokenized import WORD, marked_words
from charnn.text.word_ids import PretokenizedEncoder, WordEncoder
from charnn.text.words import FIRST, GLUE, LATEST, split_words
from tests.conftest import FABLES, trained_tokenizer

PARTS = [
    "fox",
    "Don't",
    "3,000.5",
    ",",
    ".",
    '"',
    "'",
    "\u201c",
    "-",
    "--",
    "(",
    ")",
    "...",
    "_",
    "x.y",
    "e\u0301",
    "\ufdd0",
    "。",
    "؟\u200f",
    "\u200c",
    "\u200d👩",
    "¿",
    "»",
    "「",
]
SPACES = [" ", "  ", "\n", "\n\n", "\t", "\u3000", " \t ", "\x1c"]


def slowly(text, rules=LATEST):
    return [word for word, _ in split_words(text, rules)]


def encoded(encoder_class, *texts):
    """Encode texts with one encoder, with words for ids."""
    names = {}
    encoder = encoder_class(lambda word: names.setdefault(word, len(names)))
    ids = [encoder.encode(text) for text in texts]
    words = list(names)
    return [[words[id] for id in part] for part in ids]


@given(st.lists(st.lists(st.sampled_from(PARTS + SPACES + [" "] * 10)).map("".join), min_size=1, max_size=3))
def test_looked_up_words_are_those_of_the_slow_way(texts):
    assert encoded(WordEncoder, *texts) == [slowly(text) for text in texts]


@given(st.lists(st.lists(st.sampled_from(PARTS + [" ", " ", "\n", "  "])).map("".join), min_size=1, max_size=3))
def test_so_are_those_of_a_text_whose_only_white_space_is_spaces_and_line_ends(texts):
    assert encoded(WordEncoder, *texts) == [slowly(text) for text in texts]


@given(st.lists(st.sampled_from(PARTS + SPACES)).map("".join))
def test_so_are_those_of_the_first_version_of_the_rules(text):
    assert encoded(partial(WordEncoder, rules=FIRST), text) == [slowly(text, FIRST)]


@given(st.text())
def test_any_text_at_all_has_the_words_of_the_slow_way(text):
    assert encoded(WordEncoder, text) == [slowly(text)]
    assert encoded(PretokenizedEncoder, text) == [WORD.findall(text)]


@given(st.lists(st.lists(st.sampled_from(PARTS + SPACES)).map("".join), min_size=1, max_size=3))
def test_pretokenized_words_are_those_of_the_pattern(texts):
    assert encoded(PretokenizedEncoder, *texts) == [WORD.findall(text) for text in texts]


MARKED = [
    ("a </s> b\n", ["a", "\n", "b", "\n"], ["a", "</s>", "b", "\n"]),
    ("a b <eos> c <eos>", ["a", "b", "\n", "c", "\n"], ["a", "b", "\n", "c", "\n"]),
    ("a </s> \nb </s>\n\nc", ["a", "\n", "b", "\n", "\n", "c"], ["a", "</s>", "b", "</s>", "c"]),
    ("a\n</s>\nb", ["a", "\n", "\n", "b"], ["a", "</s>", "b"]),
    ("a <eos>\n\nb", ["a", "\n", "\n", "b"], ["a", "\n", "\n", "b"]),
    ("a</s> <eos>. </s>x <unk>", ["a</s>", "<eos>.", "</s>x", "<unk>"], ["a</s>", "<eos>.", "</s>x", "<unk>"]),
    ("\ufdd0 <eos>", ["\ufdd0", "\n"], ["\ufdd0", "\n"]),
]


@pytest.mark.parametrize("unit", ["stream", "line", "document"])
@pytest.mark.parametrize(("text", "of_lines", "of_documents"), MARKED)
def test_a_mark_and_the_line_end_after_it_are_one_boundary(unit, text, of_lines, of_documents):
    wanted = of_documents if unit == "document" else of_lines
    assert encoded(partial(PretokenizedEncoder, unit=unit), text, text) == [wanted, wanted]
    assert [word for word, _ in marked_words(text, unit)] == wanted
    assert all(text[start:].startswith((word, "</s>", "<eos>")) for word, start in marked_words(text, unit))


@given(
    st.lists(st.sampled_from(["a", "</s>", "<eos>", " ", "\n", "\n\n", "\t", "x</s>"])).map("".join),
    st.sampled_from(["line", "document"]),
)
def test_marked_texts_have_the_words_of_the_slow_way(text, unit):
    assert encoded(partial(PretokenizedEncoder, unit=unit), text) == [[word for word, _ in marked_words(text, unit)]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ", [" "]),
        ("a b", ["a", "b"]),
        ("a , b", ["a", " ", ",", "b"]),
        ('"a" b', ['"', "a", GLUE, '"', " ", "b"]),
        ("x.y  z\n", ["x", ".", GLUE, "y", "  ", "z", "\n"]),
        ("\n b ", ["\n", " ", "b", " "]),
    ],
)
def test_gaps_that_nobody_expects_have_ids(text, words):
    assert encoded(WordEncoder, text) == [words]


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(word_ids, "MAX_CACHED_FRAGMENTS", 5)
    texts = [f"a{number} b{number}, c d e f" for number in range(4)]
    assert encoded(WordEncoder, *texts) == [slowly(text) for text in texts]
    assert encoded(PretokenizedEncoder, *texts) == [WORD.findall(text) for text in texts]
    encoder, other = PretokenizedEncoder(len), WordEncoder(len)
    for text in texts:
        encoder.encode(text)
        other.encode(text)
    assert len(encoder._words.numbers) <= 5 + 7
    assert len(other._fragments.numbers) <= 5 + 7


@pytest.mark.parametrize("pretokenized", [False, True])
def test_a_long_text_has_the_ids_of_its_tokens(pretokenized):
    text = FABLES.read_text(encoding="utf-8")[:60_000]
    options = TextOptions(tokenizer="word", pretokenized=pretokenized)
    tokenizer = trained_tokenizer(options, text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert ids.tolist() == [token.id for token in tokenizer.tokenize(text)]
