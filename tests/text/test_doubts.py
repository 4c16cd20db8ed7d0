import pytest

from charnn.config import TextOptions
from charnn.text.doubts import long_line_doubt, report_overlap, training_files, unknown_doubt
from charnn.text.facts import SplitSize, TextFile
from charnn.text.overlap import Overlap
from tests.conftest import trained_tokenizer
from tests.notices import collected_notices


@pytest.mark.parametrize(
    ("valid", "expected"),
    [(None, ["a", "d/v", "d/e/w"]), ("a", ["d/v", "d/e/w"]), ("d", ["a"]), ("d/e/*", ["a", "d/v"])],
)
def test_files_of_a_separate_validation_text_are_not_trained_on(valid, expected):
    files = [TextFile(name, 1, "") for name in ("a", "d/v", "d/e/w")]
    assert [file.name for file in training_files(files, valid)] == expected


def test_a_rate_of_unknown_tokens_that_good_texts_have_is_not_doubtful():
    words = trained_tokenizer(TextOptions(tokenizer="word"), "the fox the fox slept")
    assert unknown_doubt(SplitSize(num_tokens=100, num_unknown=20), words, "x") is None
    assert unknown_doubt(SplitSize(), words, "x") is None
    assert unknown_doubt(SplitSize(num_tokens=100, num_unknown=88), words, "x.txt") == (
        "88% of the tokens of x.txt are unknown: bits per character count each <unk> as one cheap token, whatever it stands "
        "for; score with --spell, or train with --tokenizer char or a larger vocabulary (--vocab-size, --min-count)"
    )


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "train with --tokenizer byte"),
        ({"vocab_size": 4}, "train with --tokenizer byte or a larger vocabulary (--vocab-size, --min-count)"),
        ({"min_count": 2}, "train with --tokenizer byte or a larger vocabulary (--vocab-size, --min-count)"),
        ({"tokenizer": "word", "min_count": 1}, "train with --tokenizer char"),
    ],
)
def test_a_larger_vocabulary_is_advised_where_the_training_text_has_more_tokens(options, advice):
    tokenizer = trained_tokenizer(TextOptions(**options), "aab bbbc")
    doubt = unknown_doubt(SplitSize(num_tokens=10, num_unknown=9), tokenizer, "x") or ""
    assert doubt.endswith(f"; score with --spell, or {advice}")


def test_a_long_line_has_pages():
    assert long_line_doubt("x", 10_000) is None
    assert (long_line_doubt("x: line 3", 100_000) or "").startswith(
        "x: line 3 has 100,000 characters, which is too long for a sentence"
    )


@pytest.mark.parametrize(
    ("options", "overlap", "said"),
    [
        ({"unit": "line"}, Overlap(100, 49, 100), None),
        ({"unit": "line"}, Overlap(100, 50, 999), "50% of its lines are in the training text, too (measured on 100)"),
        ({}, Overlap(1000, 590, 1000), None),
        (
            {},
            Overlap(1000, 600, 1000),
            "60% of its spans of 32 tokens are in the training text, too (measured on 1,000)",
        ),
        ({"tokenizer": "word"}, Overlap(100, 12, 100), None),
        ({"tokenizer": "word", "unit": "document"}, Overlap(100, 13, 100), "13% of its spans of 32 tokens are"),
        ({}, Overlap(7, 7, 7), None),
    ],
)
def test_more_overlap_than_ordinary_texts_have_is_said(options, overlap, said):
    tokenizer = trained_tokenizer(TextOptions(**options), "some words here")
    with collected_notices() as notes:
        report_overlap([TextFile("a", 1, "1")], [TextFile("v", 1, "2")], overlap, tokenizer)
    assert len(notes) == (said is not None)
    assert said is None or notes[0].startswith(f"v: {said}")
