"""The mixture against a slow one that follows the equations, one token and one expert at a time."""

import math

import numpy as np
import pytest

from charnn.ngrams.adaptive_model import AdaptiveModel
from charnn.ngrams.context_index import TextIndex
from charnn.ngrams.contexts import Expert, LaggedFamily

VOCAB_SIZE, BOUNDARY = 5, 4
FAMILY = LaggedFamily((1, 2, 3), 3, BOUNDARY, is_cut=True)
EXPERTS = tuple(Expert(0, length) for length in (1, 2, 3))


def model_of(ids=(0, 1, 2, 3, 4) * 9):
    return AdaptiveModel([FAMILY], EXPERTS, [TextIndex(FAMILY, np.array(ids), VOCAB_SIZE)], VOCAB_SIZE)


def networks(number, seed=2):
    """Return log probabilities of a network (N, V)."""
    logits = np.random.default_rng(seed).normal(size=(number, VOCAB_SIZE))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def bucket(total, distinct):
    level = max(0, math.floor(math.log2(total / 1.5)) + 1) if total else 0
    return min(distinct, 3) * 8 + min(level, 7)


def slow_prediction(network, entries, weights, last_ids):
    """Return log q(v) by the equations of `mixer`."""
    num_contexts = len(entries.slots_C)
    features, own, last_seen = {}, [weights.by_count[0]], 0
    for kind in (0, 1):
        for context in range(num_contexts):
            expert = kind * num_contexts + context
            places = np.flatnonzero(entries.owners_N == context)
            counts = {int(entries.symbols_N[place]): float(entries.counts_2N[kind, place]) for place in places}
            counts = {token: count for token, count in counts.items() if count > 0.02}
            if counts and not kind:
                last_seen = context + 1
            discounts = {token: min(0.6, 0.9 * count) for token, count in counts.items()}
            for token, count in counts.items():
                p_after_context = (count - discounts[token]) / sum(counts.values())
                backed_off = sum(discounts.values()) / sum(counts.values()) * math.exp(network[token])
                features[expert, token] = math.log((p_after_context + backed_off) / backed_off)
            own.append(weights.by_count[32 * (1 + expert) + bucket(sum(counts.values()), len(counts))])
    sets = (last_ids[-1], last_ids[0] * VOCAB_SIZE + last_ids[1], int(np.argmax(network)), last_seen)
    first_rows = (0, VOCAB_SIZE, VOCAB_SIZE + VOCAB_SIZE**2, 2 * VOCAB_SIZE + VOCAB_SIZE**2)
    rows = [first + own_row for first, own_row in zip(first_rows, sets, strict=True)]
    own = [value + sum(weights.by_set[row, number] for row in rows) for number, value in enumerate(own)]
    scores = [
        own[0] * network[token]
        + sum(own[1 + expert] * value for (expert, of), value in features.items() if of == token)
        for token in range(VOCAB_SIZE)
    ]
    return np.array(scores) - math.log(sum(map(math.exp, scores)))


def test_a_prediction_is_what_the_equations_say_and_sums_to_one():
    model = model_of()
    reader, last = model.reader(), (0, BOUNDARY)
    reader.push(BOUNDARY)
    ids = np.random.default_rng(5).choice(VOCAB_SIZE, 120, p=[0.3, 0.3, 0.2, 0.1, 0.1]).tolist()
    for id, network in zip(ids, networks(len(ids)), strict=True):
        mixed = reader.predict(network)
        expected = slow_prediction(network, reader._entries, model.mixer._weights, last)
        np.testing.assert_allclose(mixed, expected, atol=1e-9)
        assert np.exp(mixed).sum() == pytest.approx(1, abs=1e-12)
        reader.learn(id)
        reader.push(id)
        last = last[-1], id
    assert np.abs(model.mixer._weights.by_set).max() > 0.01


def test_weights_move_along_the_gradient_of_the_log_probability():
    model = model_of()
    reader = model.reader()
    for id in (4, 0, 1):
        reader.push(id)
    (network,), target = networks(1), 3
    before = reader.predict(network)[target]
    weights, step = model.mixer._weights, 1e-6
    row = reader._prediction.rows_S[0]
    numeric = []
    for expert in range(1 + 2 * len(EXPERTS)):
        weights.by_set[row, expert] += step
        numeric.append((reader.predict(network)[target] - before) / step)
        weights.by_set[row, expert] -= step
    reader.predict(network)
    reader.learn(target)
    moved = weights.by_set[row]
    assert moved[0] == pytest.approx(0.0005 * 4 * numeric[0] / math.sqrt(1.001), rel=1e-4)
    for expert, gradient in enumerate(numeric[1:], start=1):
        square = 0.999 + 0.001 * gradient**2 if gradient else 1.0
        assert moved[expert] == pytest.approx(0.0005 * 4 * gradient / math.sqrt(square + 1e-3), rel=1e-4, abs=1e-12)


def test_a_copy_learns_by_itself():
    model = model_of()
    reader = model.reader()
    reader.push(BOUNDARY)
    (network,) = networks(1)
    first = reader.predict(network)
    other = reader.copy()
    for learning, resting in ((other, reader), (reader, other)):
        before = resting.predict(network)
        learning.predict(network)
        learning.learn(2)
        assert np.array_equal(resting.predict(network), before)
        assert not np.array_equal(learning.predict(network), first)


def test_a_network_that_is_certain_and_wrong_costs_a_finite_number_of_nats():
    model = model_of()
    reader = model.reader()
    reader.push(BOUNDARY)
    network = np.array([0.0, -800.0, -800.0, -800.0, -800.0])
    for id in (1, 2, 3, 1, 2, 3) * 5:
        mixed = reader.predict(network)
        assert np.isfinite(mixed).all()
        assert np.exp(mixed).sum() == pytest.approx(1, abs=1e-9)
        reader.learn(id)
        reader.push(id)
