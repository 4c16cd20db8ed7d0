"""Features are worked by hand, and meet the tokens of any tokenizer."""

from types import SimpleNamespace

import numpy as np
import pytest

from charnn.analysis import features
from charnn.analysis.features import DIGIT, SENTENCE_START, SPEAKER, decoded, features_of, inside_matches
from charnn.analysis.subjects import Subject
from charnn.config import Architecture, TextOptions
from charnn.errors import OptionError, TextError
from tests.conftest import ramp_weights, trained_tokenizer


def digits(values):
    return "".join(str(int(value)) for value in values)


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        (features.inside_quotes, 'I "am" "', "00111001"),
        (features.inside_quotes, "„a“ “b” «c»", "11001100110"),
        (features.inside_quotes, '"a\n\nb "c"', "110000110"),  # a blank line ends a quotation
        (features.bracket_depth, "a(b[c])) :)(", "011221000000"),
        (features.position_in_line, "ab\n\nc", "12001"),
        (features.indentation, "  a b\n\tc\n   \nd", "12222044000000"),
        (lambda text: inside_matches(text, SENTENCE_START), 'One. "Two" is 3. four', "000011100000000000000"),
        (lambda text: inside_matches(text, DIGIT), "a1٣", "011"),
        (lambda text: inside_matches(text, SPEAKER), "MR A: Hi\nA: no\nSO: x", "11111000000000011100"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 12 else "",
)
def test_a_feature_has_the_value_worked_by_hand_after_each_character(function, text, expected):
    assert digits(function(text)) == expected


def test_an_empty_text_has_no_values():
    for function in (features.inside_quotes, features.bracket_depth, features.position_in_line, features.indentation):
        assert function("").tolist() == []


def subject_of(tokenizer, ids, direction="forward"):
    shape = Architecture("rnn", len(tokenizer.vocabulary), 4, 4, 1, direction=direction)
    model = SimpleNamespace(tokenizer=tokenizer, architecture=shape, weights=ramp_weights(shape))
    return Subject("run", model, np.asarray(ids), "text")


TEXT = 'He said: "né 12" and\nso. On "we\ngo" now'


@pytest.mark.parametrize("kind", ["char", "byte", "word", "subword"])
def test_each_token_has_the_value_after_its_last_character(kind):
    tokenizer = trained_tokenizer(
        TextOptions(tokenizer=kind, vocab_size=40 if kind == "subword" else None), f"{TEXT}\n" * 20
    )
    subject = subject_of(tokenizer, tokenizer.encode(TEXT))
    text, places = decoded(subject)
    assert text == TEXT
    assert places[-1] == len(TEXT) - 1
    assert (np.diff(places) >= 0).all()
    quotes = next(feature for feature in features_of(subject, []) if feature.name == "inside quotes")
    expected = features.inside_quotes(TEXT)
    assert quotes.values.tolist() == [expected[place] for place in places]
    if kind == "word":
        shown = subject.tokens(subject.ids)
        assert quotes.values[shown.index("12")] == 1
        assert quotes.values[shown.index("and")] == 0


def test_a_model_that_reads_backward_has_the_values_of_the_same_characters():
    tokenizer = trained_tokenizer(TextOptions(tokenizer="char"), TEXT)
    subject = subject_of(tokenizer, tokenizer.encode(TEXT)[::-1], direction="backward")
    text, places = decoded(subject)
    assert text == TEXT
    assert places.tolist() == list(range(len(TEXT)))[::-1]


def test_a_boundary_of_documents_is_a_blank_line():
    tokenizer = trained_tokenizer(TextOptions(tokenizer="char", unit="document"), 'a "b\n\nc')
    boundary = tokenizer.vocabulary.boundary_id
    subject = subject_of(tokenizer, [*tokenizer.encode('a "b'), boundary, *tokenizer.encode("c"), boundary])
    assert decoded(subject)[0] == 'a "b\n\nc\n\n'
    assert digits(features_of(subject, [])[0].values) == "0011000"


def test_a_pattern_is_a_feature_of_its_own():
    tokenizer = trained_tokenizer(TextOptions(tokenizer="char"), TEXT)
    *_, last = features_of(subject_of(tokenizer, tokenizer.encode(TEXT)), [r"^\w+"])
    assert (last.name, last.is_binary) == (r"/^\w+/", True)
    assert digits(last.values) == "11" + "0" * 19 + "11" + "0" * 9 + "11" + "0" * 5


def test_what_is_wrong_with_a_pattern_is_said(monkeypatch):
    with pytest.raises(OptionError, match=r"^--pattern: found '\(a', which is no regular expression \(missing \)"):
        features.compiled_pattern("(a")
    monkeypatch.setattr(features, "MATCH_SECONDS", 0.01)
    with pytest.raises(TextError, match=r"^--pattern: the search for '\(a\+\)\+b' took longer than 0.01 seconds"):
        inside_matches("a" * 5000 + "c", features.compiled_pattern("(a+)+b"))
