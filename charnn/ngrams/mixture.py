"""A network and an n-gram model interpolated: p = w p_network + (1 - w) p_ngram.

The weight w depends on the length of the matched context of the n-gram model. Source: Jelinek and Mercer (1980) for
weights by classes of contexts, fitted to held-out text by EM.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charnn.ngrams.kneser_ney import Floats, NgramModel, NgramScores
from charnn.optimize import fit_mixture_weights

EM_ITERATIONS = 40
PRIOR_TOKENS = 20.0
"""Pseudo-count, in tokens, of the common weight in each class."""


def fit_weights(network_log_probs: Floats, scores: NgramScores, order: int) -> Floats:
    """Fit the weights of the network (order,), one per length of the matched context, to maximize the likelihood of a text.

    Args:
        network_log_probs: log probability of each target under the network, in nats (N,).
        reading: scores of the n-gram model.
    """
    probs = [np.exp(network_log_probs), scores.probs]

    def common_weight(before: float, posteriors: Iterator[Floats]) -> float:
        network_N = next(posteriors)
        return float((network_N.sum() + before) / (len(network_N) + 1))

    common = fit_mixture_weights(
        0.5,
        probs,
        expand=lambda weight: (weight, 1 - weight),
        maximize=common_weight,
        max_iterations=EM_ITERATIONS,
    )
    counts = np.bincount(scores.matched, minlength=order) + PRIOR_TOKENS

    def class_weights(_: Floats, posteriors: Iterator[Floats]) -> Floats:
        sums = np.bincount(scores.matched, next(posteriors), minlength=order)
        return np.asarray((sums + PRIOR_TOKENS * common) / counts)

    def of_tokens(weights: Floats) -> tuple[Floats, Floats]:
        weights_N = weights[scores.matched]
        return weights_N, 1 - weights_N

    return fit_mixture_weights(
        np.full(order, common), probs, expand=of_tokens, maximize=class_weights, max_iterations=EM_ITERATIONS
    )


@dataclass(frozen=True)
class Mixture:
    """An n-gram model, and the interpolation weights of the network by length of the matched context (order,)."""

    ngrams: NgramModel
    weights: Floats

    def mixed_log_probs(self, network_log_probs: Floats, scores: NgramScores) -> Floats:
        """Return the log probabilities of targets under the mixture, in nats (see `NgramModel.read`)."""
        return mixed(network_log_probs, scores, self.weights)

    def log_distribution(self, network_log_probs_V: Floats, context: Sequence[int]) -> Floats:
        """Return the log probabilities (V,) of the next token under the mixture, given the ids since the boundary."""
        ngram_probs, matched = self.ngrams.distribution(context)
        weight = self.weights[matched]
        return np.asarray(np.log(weight * np.exp(network_log_probs_V) + (1 - weight) * ngram_probs))


def mixed(network_log_probs: Floats, scores: NgramScores, weights: Floats) -> Floats:
    """Return the interpolated log probabilities of a network and an n-gram model, in nats."""
    weight = weights[scores.matched]
    return np.asarray(np.log(weight * np.exp(network_log_probs) + (1 - weight) * scores.probs))


def cross_fitted_loss(network_log_probs: Floats, scores: NgramScores, order: int) -> float:
    """Return the mean loss of the mixture in nats; the weights for each half of a text are fitted to the other half."""
    half = len(network_log_probs) // 2
    halves = [slice(0, half), slice(half, None)]
    total = 0.0
    for scored, other in (halves, halves[::-1]):
        weights = fit_weights(network_log_probs[other], scores.part(other), order)
        total -= float(mixed(network_log_probs[scored], scores.part(scored), weights).sum())
    return total / len(network_log_probs) if len(network_log_probs) else math.nan
