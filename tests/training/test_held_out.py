"""Pieces of a held-out text, and the confidence interval of a mean loss over it."""

import numpy as np
import pytest

from charnn.config import Architecture
from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import estimate
from charnn.text.vocabulary import Vocabulary
from charnn.training.evaluation import fixed_window_loss, held_out_log_probs, validate
from charnn.training.held_out import HeldOutText, margin_of_mean
from charnn.training.network.network import Network
from charnn.training.run.metrics import evaluate_ngrams
from tests.conftest import ramp_weights

PLAIN = Vocabulary(tuple(map(str, range(11))), (9,) * 11, boundary_id=0, unknown_id=None)


def text_of(ids, unit, max_tokens=None):
    return HeldOutText.of(np.asarray(ids), PLAIN, unit=unit, max_tokens=max_tokens)


def small_network():
    shape = Architecture("lstm", 11, 6, 8, 2, embedding_order=3, initial_state="learned")
    network = Network(shape)
    network.load_arrays(ramp_weights(shape))
    return network


def indices_of(text):
    """Return the positions of the tokens of the pieces in the whole text."""
    return np.concatenate(
        [np.arange(first, first + count) for first, count in zip(text.starts, text.lengths, strict=True)]
    )


def test_a_short_text_is_evaluated_whole():
    text = text_of(np.arange(100) % 11, "stream", 100)
    assert text.is_whole
    assert text.tokens.tolist() == (np.arange(100) % 11).tolist()
    assert text.part(PLAIN, max_tokens=200) is text


def test_pieces_of_a_stream_are_spread_from_its_beginning_to_its_end():
    ids = np.arange(50_000) % 11
    text = text_of(ids, "stream", 5_000)
    assert len(text) == pytest.approx(5_000, abs=10)
    assert (text.starts[0], text.starts[-1] + text.lengths[-1]) == (0, 50_000)
    assert np.ptp(np.diff(text.starts)) <= 1
    assert text.tokens.tolist() == ids[indices_of(text)].tolist()
    assert text.part(PLAIN, max_tokens=1_000).starts.tolist() == text_of(ids, "stream", 1_000).starts.tolist()


def test_pieces_of_lines_are_whole_lines_spread_over_the_text():
    ids = np.array([id for length in range(1, 400) for id in (*[1] * length, 0)])
    text = text_of(ids, "line", 8_000)
    assert len(text) == pytest.approx(8_000, rel=0.05)
    assert all(ids[start - 1] == 0 for start in text.starts if start)
    assert all(ids[text.starts + text.lengths - 1] == 0)
    assert np.mean(text.starts) == pytest.approx(np.mean(np.flatnonzero(ids == 0)), rel=0.1)


def test_pieces_are_scored_as_within_the_whole_stream():
    network, ids = small_network(), np.arange(30_000) ** 2 % 11
    whole, part = text_of(ids, "stream"), text_of(ids, "stream", 4_000)
    expected = held_out_log_probs(network, whole, PLAIN)[indices_of(part)]
    np.testing.assert_allclose(held_out_log_probs(network, part, PLAIN), expected, atol=1e-4)
    assert validate(network, part, PLAIN).loss.num_tokens == len(part)
    ngrams = estimate(count_ngrams(ids, order=3, vocab_size=11, boundary_id=0, cut_at_boundary=False), 11)
    scores = evaluate_ngrams(ngrams, part)
    np.testing.assert_array_equal(scores.probs, evaluate_ngrams(ngrams, whole).probs[indices_of(part)])


@pytest.mark.parametrize("unit", ["line", "document"])
def test_chosen_units_are_scored_as_in_the_whole_text(unit):
    random = np.random.default_rng(2)
    ids = np.concatenate([np.append(random.integers(1, 11, random.integers(1, 40)), 0) for _ in range(300)])
    network, whole, part = small_network(), text_of(ids, unit), text_of(ids, unit, 1_000)
    expected = held_out_log_probs(network, whole, PLAIN)[indices_of(part)]
    np.testing.assert_allclose(held_out_log_probs(network, part, PLAIN), expected, atol=1e-5)
    assert fixed_window_loss(network, part, PLAIN).nats == pytest.approx(-expected.sum(dtype=float), rel=1e-5)


def test_the_first_window_of_a_piece_follows_the_token_before_it():
    network, ids = small_network(), np.arange(20_000) ** 2 % 11
    part = text_of(ids, "stream", 2_048)
    assert len(part.starts) == 4
    alone = sum(
        fixed_window_loss(network, text_of(ids[start - 1 : start + 512], "stream"), PLAIN).nats
        - fixed_window_loss(network, text_of(ids[start - 1 : start], "stream"), PLAIN).nats
        for start in part.starts[1:]
    )
    assert fixed_window_loss(network, part, PLAIN).nats == pytest.approx(
        alone + fixed_window_loss(network, text_of(ids[:512], "stream"), PLAIN).nats, rel=0.02
    )


def test_the_interval_holds_the_mean_of_the_source_in_95_of_100_samples():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        difficulty = np.repeat(random.gamma(4.0, 0.5, 60), 50)  # tokens of a cluster are alike
        losses = difficulty * random.exponential(1.0, len(difficulty))
        margin = margin_of_mean(losses, np.arange(0, len(losses), 50))
        held += abs(losses.mean() - 2.0) < margin
    assert 0.91 <= held / 400 <= 0.98


def test_a_short_text_has_no_interval():
    losses = np.ones(2_000)
    assert margin_of_mean(losses, np.arange(0, 2_000, 300)) is None
    assert margin_of_mean(losses, text_of(losses.astype(int), "stream").clusters()[:8]) == pytest.approx(0)
    assert len(text_of(np.ones(300, dtype=int), "stream").clusters()) == 1
    assert text_of([1, 2, 0] * 9, "line").clusters().tolist() == list(range(0, 27, 3))
