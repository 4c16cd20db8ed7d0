import numpy as np
import pytest

from charnn.config import TextOptions
from charnn.text import doubts
from charnn.text.doubts import long_line_doubt, repeated_passages, training_files, unknown_doubt
from charnn.text.facts import SplitSize, TextFile
from tests.conftest import trained_tokenizer


def random_ids(num_tokens, seed, dtype=np.uint16):
    return np.random.default_rng(seed).integers(0, 50, num_tokens).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_passages_that_occur_in_the_training_text_are_counted(monkeypatch, dtype):
    monkeypatch.setattr(doubts, "BLOCK_TOKENS", 100)  # passages lie across blocks
    train, valid = random_ids(9000, 1, dtype), random_ids(16 * 300, 2, dtype)
    assert repeated_passages(train, valid) == (16, 0)
    valid[300:2000] = train[777:2477]
    found = sum(300 <= start <= 1800 for start in np.linspace(0, 16 * 300 - 200, 16).astype(int))
    assert repeated_passages(train, valid) == (16, found)
    assert repeated_passages(train, train[50:110]) == (1, 1)
    assert repeated_passages(train, train[50:90]) == (0, 0)  # so short a passage may occur twice by chance
    assert repeated_passages(train[:0], valid) == (16, 0)


def test_a_passage_begins_at_a_token_not_in_the_middle_of_one():
    valid = np.full(60, 0x0101, dtype=np.uint16)
    shifted = np.array([0x0100, *[0x0101] * 59, 0x0001], dtype="<u2")  # the same bytes, one byte later
    assert valid.tobytes() in shifted.tobytes()
    assert repeated_passages(shifted, valid) == (1, 0)
    assert repeated_passages(np.append(shifted, valid), valid) == (1, 1)


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
