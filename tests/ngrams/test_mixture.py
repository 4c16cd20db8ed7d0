"""The mixture of a network with an n-gram model: its distribution, its weights, and its loss on held-out text."""

import math

import numpy as np
import pytest

from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import estimate
from charnn.ngrams.mixture import (
    COMMON_PRIOR,
    PRIOR_TOKENS,
    USUAL_EXPONENTS,
    Mixture,
    Stage,
    fit_stages,
    fit_weights,
    linear_weights,
    mixed,
    target_log_probs,
)

VOCAB_SIZE, BOUNDARY = 5, 0
WEIGHTS = np.array([[0.9, 0.3, 0.5, 0.3, 0.2], [0.7, 0.4, 0.8, 0.1, 0.1], [1.1, -0.1, 0.2, 0.2, 0.6]])


def distributions(number, seed, sharpness=1.5):
    scores = np.random.default_rng(seed).normal(0, sharpness, (number, VOCAB_SIZE))
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def drawn(log_probs, seed):
    cumulated = np.exp(log_probs).cumsum(axis=1)
    return (
        (np.random.default_rng(seed).random(len(log_probs))[:, None] > cumulated).sum(axis=1).clip(max=VOCAB_SIZE - 1)
    )


def by_definition(network, ngram, row):
    exponents, shares = row[:2], row[2:]
    product = np.exp(network) ** exponents[0] * np.exp(ngram) ** exponents[1]
    return np.log(shares[0] * product / product.sum() + shares[1] * np.exp(network) + shares[2] * np.exp(ngram))


def test_the_mixture_is_that_of_its_definition():
    network, ngram = distributions(3, 1), distributions(3, 2)
    found = mixed(network, ngram, WEIGHTS)
    for row in range(3):
        np.testing.assert_allclose(found[row], by_definition(network[row], ngram[row], WEIGHTS[row]), rtol=1e-12)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-12)


def test_weights_of_older_runs_are_those_of_a_linear_interpolation():
    network, ngram = distributions(2, 1), distributions(2, 2)
    found = mixed(network, ngram, np.array(linear_weights([0.3, 1.0])))
    np.testing.assert_allclose(np.exp(found[0]), 0.3 * np.exp(network[0]) + 0.7 * np.exp(ngram[0]), rtol=1e-12)
    np.testing.assert_allclose(found[1], network[1], rtol=1e-12)


def test_of_the_next_token_it_says_the_same_as_of_a_text():
    ids = np.random.default_rng(3).integers(1, VOCAB_SIZE, 400)
    counts = count_ngrams(ids, order=3, vocab_size=VOCAB_SIZE, boundary_id=BOUNDARY, cut_at_boundary=True)
    ngrams = estimate(counts, VOCAB_SIZE)
    network, read = distributions(40, 5), np.concatenate(([BOUNDARY], ids[:39]))
    probs, matched = ngrams.distributions(ngrams.histories(read))
    stages = [Stage(np.log(probs), matched, 3)] * 2
    own = WEIGHTS[::-1]
    targets = np.arange(40) % VOCAB_SIZE
    together = target_log_probs(network, stages, [WEIGHTS, own], targets)
    mixture = Mixture(ngrams, own, inner=Mixture(ngrams, WEIGHTS))
    for place in range(40):
        found = mixture.log_distribution(network[place], read[: place + 1].tolist())
        assert found[targets[place]] == pytest.approx(together[place], abs=1e-9)


def drawn_text(number, exponents, seed=1):
    """Return the distributions of two models, classes of tokens, and tokens drawn from geometric mixtures of the two."""
    network, ngram = distributions(number, seed), distributions(number, seed + 1)
    matched = np.random.default_rng(seed + 2).integers(0, len(exponents), number)
    rows = np.column_stack([np.array(exponents)[matched], np.tile([1.0, 0.0, 0.0], (number, 1))])
    return network, Stage(ngram, matched, len(exponents)), drawn(mixed(network, ngram, rows), seed + 3)


def test_exponents_are_those_of_which_a_text_is_drawn():
    truth = [[0.6, 0.5], [1.0, 0.2]]
    network, stage, targets = drawn_text(60_000, truth)
    weights = fit_weights(network.astype(np.float32), stage, targets)
    np.testing.assert_allclose(weights[:, :2], truth, atol=0.03)
    assert weights[:, 2].min() > 0.9  # a geometric mixture is all that it is
    np.testing.assert_allclose(weights[:, 2:].sum(axis=1), 1)


def test_exponents_have_the_highest_posterior_probability():
    network, stage, targets = drawn_text(300, [[0.6, 0.5], [1.0, 0.2], [0.3, 0.9]])

    def posterior(exponents):
        shares = np.tile([1.0, 0.0, 0.0], (3, 1))
        fitting = target_log_probs(network, [stage], [np.column_stack([exponents, shares])], targets).sum()
        return fitting - PRIOR_TOKENS / 2 * np.square(exponents - USUAL_EXPONENTS).sum()

    best = fit_weights(network, stage, targets)[:, :2]
    for place in np.ndindex(best.shape):
        for change in (-0.01, 0.01):
            moved = best.copy()
            moved[place] += change
            assert posterior(moved) < posterior(best)


def test_shares_are_those_of_which_a_text_is_drawn():
    """Each token comes from one of the two alone."""
    network, ngram = distributions(40_000, 1, sharpness=3), distributions(40_000, 2, sharpness=3)
    matched = np.arange(40_000) % 2
    weights = np.array(linear_weights([0.8, 0.3]))
    targets = drawn(mixed(network, ngram, weights[matched]), 3)
    stage = Stage(ngram, matched, 2)
    found = fit_weights(network, stage, targets)
    assert target_log_probs(network, [stage], [found], targets).mean() == pytest.approx(
        target_log_probs(network, [stage], [weights], targets).mean(), abs=2e-3
    )


@pytest.mark.parametrize("number", [0, 1, 8])
def test_few_tokens_do_not_decide_for_one_of_the_two(number):
    """The network is far better in these tokens, and would be far worse in others."""
    sure, unsure = np.log([[0.96, 0.01, 0.01, 0.01, 0.01]]), np.log([[0.0001, 0.9996, 0.0001, 0.0001, 0.0001]])
    stage = Stage(np.repeat(unsure, number, axis=0), np.zeros(number, dtype=np.int64), 2)
    weights = fit_weights(np.repeat(sure, number, axis=0), stage, np.zeros(number, dtype=np.int64))
    if not number:
        np.testing.assert_allclose(weights, [[*USUAL_EXPONENTS, *(np.array(COMMON_PRIOR) / sum(COMMON_PRIOR))]] * 2)
    other = Stage(sure, np.zeros(1, dtype=np.int64), 2)
    for each in weights:
        cost = -target_log_probs(unsure, [other], [np.tile(each, (2, 1))], np.zeros(1, dtype=np.int64))[0]
        assert cost < 3.5  # of 9.2 by the network alone


def test_later_stages_are_fitted_to_what_the_earlier_ones_give():
    network, first, targets = drawn_text(2_000, [[0.6, 0.5]])
    second = Stage(distributions(2_000, 9), np.zeros(2_000, dtype=np.int64), 1)
    found = fit_stages(network, [first, second], targets)
    np.testing.assert_array_equal(found[0], fit_weights(network, first, targets))
    between = mixed(network, first.log_probs_NV, found[0][first.matched_N])
    np.testing.assert_allclose(found[1], fit_weights(between, second, targets), rtol=1e-6)
    assert math.isfinite(target_log_probs(network, [first, second], found, targets).sum())
