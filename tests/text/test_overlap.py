"""What of a held-out text stands in the training text is found, whatever the blocks in which it is read."""

import numpy as np
import pytest

from charnn.text import overlap
from charnn.text.overlap import SPAN_TOKENS, Overlap, measure_overlap
from charnn.text.stored_ids import ShardedIds
from charnn.text.vocabulary import Vocabulary

BOUNDARY = 0


def random_ids(number, seed, dtype=np.uint8):
    return np.random.default_rng(seed).integers(1, 60, number).astype(dtype)


def measured(train, valid, *, unit="stream", unknown_id=None):
    counts = np.bincount(np.asarray(train), minlength=100)
    vocabulary = Vocabulary(tuple(map(str, range(len(counts)))), tuple(counts.tolist()), BOUNDARY, unknown_id)
    return measure_overlap(train, valid, vocabulary, unit=unit)


def listed_spans(train, valid):
    known = {train[start : start + SPAN_TOKENS].tobytes() for start in range(len(train) - SPAN_TOKENS + 1)}
    spans = [valid[start : start + SPAN_TOKENS] for start in range(0, len(valid) - SPAN_TOKENS + 1, SPAN_TOKENS)]
    return len(spans), sum(span.tobytes() in known for span in spans)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("block", [7, 40, 1000, 1 << 20])
def test_every_span_of_a_short_text_is_looked_up(monkeypatch, dtype, block):
    monkeypatch.setattr(overlap, "BLOCK_TOKENS", block)
    train, valid = random_ids(3000, 1, dtype), random_ids(1000, 2, dtype)
    valid[100:500] = train[1234:1634]
    number, repeated = listed_spans(train, valid)
    assert repeated == 11
    assert measured(train, valid) == Overlap(number, repeated, number)
    assert measured(ShardedIds([train[:1300], train[1300:]]), valid) == Overlap(number, repeated, number)


@pytest.mark.parametrize("num_train", [0, 1, 31, 32])
@pytest.mark.parametrize("num_valid", [0, 31, 32])
def test_the_shortest_texts(num_train, num_valid):
    ids = random_ids(40, 1)
    found = measured(ids[:num_train], ids[:num_valid])
    assert found == Overlap(num_valid // 32, int(num_train == num_valid == 32), num_valid // 32)
    assert found.rate in (0.0, 1.0)


def test_spans_of_a_long_text_are_sampled_by_their_content(monkeypatch):
    monkeypatch.setattr(overlap, "EXACT_TOKENS", 1000)
    monkeypatch.setattr(overlap, "BLOCK_TOKENS", 333)
    monkeypatch.setattr(overlap, "SAMPLED_RATE", 1 / 60)
    train, valid = random_ids(90_000, 1), random_ids(30_000, 2)
    assert measured(train, valid).num_repeated == 0
    valid[:15_000] = train[20_017:35_017]
    found = measured(train, valid)
    assert 400 < found.num_looked_up < 600
    assert found.rate == pytest.approx(0.5, abs=0.05)
    assert found.num_all == 30_000 - 31


@pytest.mark.parametrize("exact_tokens", [1 << 24, 1000])
def test_lines_are_compared_as_a_whole(monkeypatch, exact_tokens):
    monkeypatch.setattr(overlap, "EXACT_TOKENS", exact_tokens)
    monkeypatch.setattr(overlap, "SAMPLED_RATE", 1 / 4)
    monkeypatch.setattr(overlap, "BLOCK_TOKENS", 100)
    lines = [random_ids(length, length) for length in (np.random.default_rng(3).integers(1, 40, 900)).tolist()]
    lines = [np.append(line + np.uint8(number % 90), np.uint8(BOUNDARY)) for number, line in enumerate(lines)]
    train, valid = lines[:600], lines[400:]
    known = {line.tobytes() for line in train}
    found = measured(np.concatenate(train), np.concatenate(valid), unit="line")
    assert found.num_all == 500
    rate = sum(line.tobytes() in known for line in valid) / len(valid)
    if exact_tokens > 1000:
        assert found == Overlap(500, round(500 * rate), 500)
    else:
        assert 60 < found.num_looked_up < 250
        assert found.rate == pytest.approx(rate, abs=0.12)


def test_of_very_many_spans_evenly_spaced_ones_are_looked_up(monkeypatch):
    monkeypatch.setattr(overlap, "MAX_LOOKED_UP", 10)
    ids = random_ids(3200, 1)
    assert measured(ids, ids) == Overlap(10, 10, 100)
    lines = np.tile(np.array([3, 4, 0], dtype=np.uint8), 50)
    assert measured(lines, lines, unit="line") == Overlap(10, 10, 50)


def test_unknown_tokens_may_stand_for_different_words():
    ids = random_ids(320, 1)
    ids[100] = 99
    assert measured(ids, ids, unknown_id=99) == Overlap(9, 9, 10)
    lines = np.array([99, 0, 5, 0, 7, 99, 0], dtype=np.uint8)
    assert measured(lines, lines, unit="line", unknown_id=99) == Overlap(1, 1, 3)
