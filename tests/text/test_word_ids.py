import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import TextOptions
from charnn.text import word_ids
from charnn.text.word_ids import PRETOKENIZED_WORD, PretokenizedEncoder, WordEncoder
from charnn.text.words import GLUE, split_words
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
]
SPACES = [" ", "  ", "\n", "\n\n", "\t", "\u3000", " \t ", "\x1c"]


def slowly(text):
    return [word for word, _ in split_words(text)]


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


@given(st.text())
def test_any_text_at_all_has_the_words_of_the_slow_way(text):
    assert encoded(WordEncoder, text) == [slowly(text)]
    assert encoded(PretokenizedEncoder, text) == [PRETOKENIZED_WORD.findall(text)]


@given(st.lists(st.lists(st.sampled_from(PARTS + SPACES)).map("".join), min_size=1, max_size=3))
def test_pretokenized_words_are_those_of_the_pattern(texts):
    assert encoded(PretokenizedEncoder, *texts) == [PRETOKENIZED_WORD.findall(text) for text in texts]


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
    encoder = PretokenizedEncoder(len)
    for text in texts:
        encoder.encode(text)
    assert len(encoder._ids) <= 5 + 7


@pytest.mark.parametrize("pretokenized", [False, True])
def test_a_long_text_has_the_ids_of_its_tokens(pretokenized):
    text = FABLES.read_text(encoding="utf-8")[:60_000]
    options = TextOptions(tokenizer="word", pretokenized=pretokenized)
    tokenizer = trained_tokenizer(options, text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert ids.tolist() == [token.id for token in tokenizer.tokenize(text)]
