"""A network and an n-gram model interpolated: p = w p_network + (1 - w) p_ngram.

The weight w depends on the length of the matched context of the n-gram model. Source: Jelinek and Mercer (1980) for
weights by classes of contexts, fitted to held-out text by EM.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charnn.ngrams.kneser_ney import Floats, NgramModel, NgramScores
from charnn.optimize import fit_mixture_weights

EM_ITERATIONS = 40
PRIOR_TOKENS = 20.0
"""Pseudo-count, in tokens, of the common weight in each class."""
COMMON_PRIOR = 4.0, 1.0
"""Imagined tokens of the network and of the n-gram model in the common weight: a few held-out tokens say little of which is
better, and a weight of 0 or 1 would let a single token cost any number of nats."""


class Stage(NamedTuple):
    """An n-gram model with which a network, or what an earlier stage made of it, is interpolated.

    Args:
        scores: of the targets of a text.
        order: of the model.
    """

    scores: NgramScores
    order: int


def fit_weights(network_log_probs: Floats, scores: NgramScores, order: int) -> Floats:
    """Fit the weights of the network (order,), one per length of the matched context, to maximize their posterior probability.

    The prior of the weight of a class is the common weight (`PRIOR_TOKENS`), and that of the common weight `COMMON_PRIOR`.

    Args:
        network_log_probs: log probability of each target under the network, in nats (N,).
        scores: of the targets by the n-gram model.
        order: of that model.
    """
    probs = [np.exp(network_log_probs), scores.probs]

    def common_weight(_: float, posteriors: Iterator[Floats]) -> float:
        network_N = next(posteriors)
        return float((network_N.sum() + COMMON_PRIOR[0]) / (len(network_N) + sum(COMMON_PRIOR)))

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
    """An n-gram model, and the interpolation weights of the network by length of the matched context (order,).

    Args:
        inner: with which the network is interpolated first: the n-gram model of all units, if this one is of one label.
        strength: exponent of P by this n-gram model / P by the inner one, a factor of the distribution of the mixture.
            Source: Kneser, Peters and Klakow (1997), Language model adaptation using dynamic marginals.
    """

    ngrams: NgramModel
    weights: Floats
    inner: "Mixture | None" = None
    strength: float = 0.0

    def mixed_log_probs(self, network_log_probs: Floats, scores: NgramScores) -> Floats:
        """Return the log probabilities of targets under this stage of the mixture, in nats (see `NgramModel.read`)."""
        return mixed(network_log_probs, scores, self.weights)

    def log_distribution(self, network_log_probs_V: Floats, context: Sequence[int]) -> Floats:
        """Return the log probabilities (V,) of the next token under the mixture, given the ids since the boundary."""
        if self.inner is not None:
            network_log_probs_V = self.inner.log_distribution(network_log_probs_V, context)
        ngram_probs, matched = self.ngrams.distribution(context)
        weight = self.weights[matched]
        log_probs_V = np.log(weight * np.exp(network_log_probs_V) + (1 - weight) * ngram_probs)
        if self.inner is None or not self.strength:
            return np.asarray(log_probs_V)
        common_probs, _ = self.inner.ngrams.distribution(context)
        log_probs_V += self.strength * (np.log(ngram_probs) - np.log(common_probs))
        return np.asarray(log_probs_V - np.logaddexp.reduce(log_probs_V))


def mixed(network_log_probs: Floats, scores: NgramScores, weights: Floats) -> Floats:
    """Return the interpolated log probabilities of a network and an n-gram model, in nats."""
    weight = weights[scores.matched]
    return np.asarray(np.log(weight * np.exp(network_log_probs) + (1 - weight) * scores.probs))


def fit_stages(network_log_probs: Floats, stages: Sequence[Stage]) -> tuple[list[Floats], Floats]:
    """Fit the weights of each stage to what the stages before it give (see `fit_weights`).

    Returns:
        The weights (order,) of each stage, and the log probabilities of the targets after the last one.
    """
    weights = []
    for scores, order in stages:
        weights.append(fit_weights(network_log_probs, scores, order))
        network_log_probs = mixed(network_log_probs, scores, weights[-1])
    return weights, network_log_probs


def cross_fitted_loss(network_log_probs: Floats, stages: Sequence[Stage]) -> float:
    """Return the mean loss of the mixture in nats; the weights for each half of a text are fitted to the other half."""
    half = len(network_log_probs) // 2
    halves = [slice(0, half), slice(half, None)]
    total = 0.0
    for scored, other in (halves, halves[::-1]):
        fitted, _ = fit_stages(network_log_probs[other], [Stage(s.part(other), order) for s, order in stages])
        log_probs = network_log_probs[scored]
        for (scores, _), weights in zip(stages, fitted, strict=True):
            log_probs = mixed(log_probs, scores.part(scored), weights)
        total -= float(log_probs.sum())
    return total / len(network_log_probs) if len(network_log_probs) else math.nan
