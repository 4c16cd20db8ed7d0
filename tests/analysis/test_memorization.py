import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.analysis import memorization
from charnn.analysis.memorization import ORDERS, find_copies, measure_memorization, window_hashes

texts = st.lists(st.integers(0, 3), max_size=90).map(np.array)


def longest_common(passage, text):
    """Try every span, the longest first."""
    spans = {
        tuple(text[place : place + size]) for size in range(1, len(text) + 1) for place in range(len(text) - size + 1)
    }
    for size in range(min(len(passage), len(text)), 0, -1):
        if any(tuple(passage[place : place + size]) in spans for place in range(len(passage) - size + 1)):
            return size
    return 0


@pytest.mark.parametrize("at_once", [7, 40, 1 << 18])
@given(text=texts, others=st.lists(texts.map(lambda ids: ids[:30]), max_size=3), place=st.integers(0, 60))
def test_the_longest_common_span_is_found_with_its_places(at_once, text, others, place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memorization, "TOKENS_AT_ONCE", at_once)
        passages = [*others, np.concatenate([text[place : place + 25], [3, 2, 1]]).astype(np.int64)]
        for passage, copied in zip(passages, find_copies(passages, text), strict=True):
            assert copied.length == longest_common(passage.tolist(), text.tolist())
            if copied.length:
                span = passage[copied.start : copied.start + copied.length]
                assert span.tolist() == text[copied.place : copied.place + copied.length].tolist()
            else:
                assert copied.place is None


@given(text=texts, passage=texts)
def test_the_shares_are_those_of_a_count_by_hand(text, passage):
    (copied,) = find_copies([passage], text)
    for order in range(1, ORDERS + 1):
        known = {tuple(text[place : place + order]) for place in range(len(text) - order + 1)}
        runs = [tuple(passage[place : place + order]) for place in range(len(passage) - order + 1)]
        share = np.mean([run in known for run in runs]) if runs else float("nan")
        assert copied.shares[order - 1] == pytest.approx(share, nan_ok=True)


def test_a_hash_depends_on_every_token_and_its_place():
    hashes = window_hashes(np.array([1, 2, 3, 1, 2, 4, 2, 1, 3]), 3)
    assert len(set(hashes.tolist())) == len(hashes)
    assert window_hashes(np.array([1, 2]), 3).tolist() == []


def test_a_span_over_the_end_of_a_stretch_is_one_span(monkeypatch):
    monkeypatch.setattr(memorization, "TOKENS_AT_ONCE", 100)
    text = np.random.default_rng(1).integers(0, 50, 1000)
    (copied,) = find_copies([np.concatenate([[60], text[50:450], [60]])], text)
    assert (copied.length, copied.start, copied.place) == (400, 1, 50)


def test_a_sample_is_judged_by_held_out_text():
    generator = np.random.default_rng(2)
    training, held_out = generator.integers(0, 4, 5000), generator.integers(0, 4, 600)
    training[40::100] = 9
    copy, fresh = training[1000:1300], generator.integers(0, 4, 300)
    first, second = measure_memorization([copy, fresh], training, held_out, newline_id=9)
    assert (first.copied.length, first.copied.place, first.line) == (300, 1000, 11)
    assert first.held_out_length is not None
    assert first.held_out_length < 30
    assert first.is_copied
    assert not second.is_copied
    assert 0.9 < second.held_out_share(1) <= 1
    assert second.held_out_share(ORDERS) < 0.05


def test_without_held_out_text_parts_of_the_training_text_are_compared_with_the_rest():
    generator = np.random.default_rng(4)
    text = generator.integers(0, 4, 9000)
    text[5000:5050] = text[100:150]
    copy, fresh = text[600:700], generator.integers(0, 4, 100)
    first, second = measure_memorization([copy, fresh], text, text[:0], newline_id=None)
    assert first.reference == "the rest of the training text"
    assert (first.copied.length, first.is_copied, second.is_copied) == (100, True, False)
    assert first.held_out_length is not None
    assert 5 < first.held_out_length <= 50


def test_a_text_too_short_to_compare_with_calls_nothing_copied():
    text = np.arange(100)
    (only,) = measure_memorization([text[:50]], text, text[:0], newline_id=None)
    assert (only.copied.length, only.is_copied, only.held_out_length, only.line) == (50, None, None, None)
    assert np.isnan(only.held_out_share(1))


@given(text=texts, start=st.integers(0, 60), size=st.integers(1, 20))
def test_what_is_passed_over_is_as_if_it_were_another_text(text, start, size):
    place = slice(start, start + size)
    (found,) = find_copies([text[place]], text, excluded=[place])
    expected = max(
        longest_common(text[place].tolist(), text[part].tolist())
        for part in (slice(0, start), slice(start + size, None))
    )
    assert found.length == expected


def test_nothing_written_and_little_held_out():
    (empty,) = measure_memorization([np.zeros(0, dtype=np.int64)], np.arange(10), np.arange(3), newline_id=1)
    assert (empty.copied.length, empty.copied.place) == (0, None)
    (some,) = measure_memorization([np.arange(5)], np.arange(10), np.arange(3), newline_id=1)
    assert some.held_out_length == 3


def test_a_passage_that_repeats_itself_costs_no_more_than_others():
    text = np.concatenate([np.zeros(300_000, dtype=np.uint8), np.arange(100, dtype=np.uint8)])
    (copied,) = find_copies([np.zeros(1500, dtype=np.int64)], text)
    assert (copied.length, copied.place) == (1500, 0)


def test_the_line_of_each_place_is_counted_in_one_reading(monkeypatch):
    monkeypatch.setattr(memorization, "TOKENS_AT_ONCE", 7)
    text = np.array([1, 9, 2, 3, 9, 4, 5, 6, 7, 9, 8] * 5)
    places = [None, 40, 0, 1, 2, 40]
    expected = [None if place is None else 1 + int((text[:place] == 9).sum()) for place in places]
    assert memorization._lines(text, places, 9) == expected
