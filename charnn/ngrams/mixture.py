"""A network and an n-gram model mixed: p = s_1 p_network^a p_ngram^b / Z + s_2 p_network + s_3 p_ngram.

The exponents a, b of the geometric mixture and the shares s, which sum to 1, depend on the length of the matched context of the
n-gram model, and are fitted to held-out text. Where both models know the text, what both find probable is more probable than
their mean; where only one of them does, the other must not take its place. Sources: Jelinek and Mercer (1980) for weights by
classes of contexts; Klakow (1998), Log-linear interpolation of language models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.ngrams.kneser_ney import Floats, NgramModel
from charnn.optimize import fit_mixture_weights

Ids = npt.NDArray[np.integer[Any]]
LogProbs = npt.NDArray[np.floating[Any]]

NUM_WEIGHTS = 5
"""Of a class: the exponents of the network and of the n-gram model, then the shares of their geometric mixture, of the network
and of the n-gram model."""
USUAL_EXPONENTS = 0.8, 0.2
"""Before any text is seen."""
PRIOR_TOKENS = 20.0
"""The precision of the normal prior of exponents, and the pseudo-count, in tokens, of the common shares in each class: a few
held-out tokens say little of which model is better."""
COMMON_PRIOR = 4.0, 1.0, 1.0
"""Imagined tokens of each component in the common shares, so that a single token can never cost any number of nats."""
MAX_ITERATIONS, LARGEST_STEP = 20, 0.5
"""Of Newton's method, which converges in three or four; a step of an exponent is limited."""
SMALLEST_GAIN = 1e-7
"""Nats per token of an iteration, below which the next is omitted."""
EM_ITERATIONS = 40
NUMBERS_AT_ONCE = 1 << 18


class Stage(NamedTuple):
    """What an n-gram model, with which a network or an earlier mixture is mixed, says of N tokens.

    Args:
        log_probs_NV: over the vocabulary, in nats.
        matched_N: lengths of the matched contexts.
        order: of the model.
    """

    log_probs_NV: LogProbs
    matched_N: Ids
    order: int

    def part(self, rows: slice | Ids) -> "Stage":
        """Return it for some of the tokens."""
        return Stage(self.log_probs_NV[rows], self.matched_N[rows], self.order)


@dataclass(frozen=True)
class Mixture:
    """An n-gram model, and the weights of its mixture with a network.

    Args:
        weights: by length of the matched context (order, NUM_WEIGHTS).
        inner: with which the network is mixed first: the n-gram model of all units, if this one is of one label.
        strength: exponent of P by this n-gram model / P by the inner one, a factor of the distribution of the mixture.
            Source: Kneser, Peters and Klakow (1997), Language model adaptation using dynamic marginals.
    """

    ngrams: NgramModel
    weights: Floats
    inner: "Mixture | None" = None
    strength: float = 0.0

    def log_distribution(self, network_log_probs_V: Floats, context: Sequence[int]) -> Floats:
        """Return the log probabilities (V,) of the next token under the mixture, given the ids since the boundary."""
        if self.inner is not None:
            network_log_probs_V = self.inner.log_distribution(network_log_probs_V, context)
        ngram_probs, matched = self.ngrams.distribution(context)
        log_probs_V = mixed(network_log_probs_V, np.log(ngram_probs), self.weights[matched])
        if self.inner is None or not self.strength:
            return log_probs_V
        common_probs, _ = self.inner.ngrams.distribution(context)
        return normalized(log_probs_V + self.strength * (np.log(ngram_probs) - np.log(common_probs)))


def linear_weights(network_weights: Sequence[float]) -> list[list[float]]:
    """Return the weights of a linear interpolation, given those of the network by length of the matched context."""
    return [[1.0, 0.0, 0.0, weight, 1 - weight] for weight in network_weights]


def mixed(log_probs: LogProbs, ngram_log_probs: LogProbs, weights: Floats) -> Floats:
    """Return the log probabilities (..., V) of a mixture, in nats.

    Args:
        log_probs, ngram_log_probs: of the network and of the n-gram model (..., V).
        weights: of the classes of their contexts (..., NUM_WEIGHTS).
    """
    of_network, of_ngrams, *shares = (weights[..., number, None] for number in range(NUM_WEIGHTS))
    components = normalized(of_network * log_probs + of_ngrams * ngram_log_probs), log_probs, ngram_log_probs
    total = sum(share * np.exp(each) for share, each in zip(shares, components, strict=True))
    return np.asarray(np.log(total))


def normalized(scores: LogProbs) -> Floats:
    """Return log probabilities (..., V) in double precision, given unnormalized ones."""
    shifted: Floats = scores - scores.max(axis=-1, keepdims=True).astype(np.float64)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def fit_weights(log_probs_NV: LogProbs, stage: Stage, targets_N: Ids) -> Floats:
    """Return the weights (order, NUM_WEIGHTS) with the highest posterior probability: the exponents first, then the shares.

    Args:
        log_probs_NV: of the network, or of the stages before.
        targets_N: ids of the tokens.
    """
    weights = np.zeros((stage.order, NUM_WEIGHTS))
    weights[:, :2] = _fit_exponents(log_probs_NV, stage, targets_N)
    weights[:, 2] = 1
    found = [target_log_probs(log_probs_NV, [stage], [weights], targets_N)]
    found += [_of_targets(each, targets_N) for each in (log_probs_NV, stage.log_probs_NV)]
    weights[:, 2:] = _fit_shares([np.exp(each) for each in found], stage)
    return weights


def _fit_exponents(log_probs_NV: LogProbs, stage: Stage, targets_N: Ids) -> Floats:
    """Return the exponents (order, 2), by Newton's method: the log probability of a text is concave in them."""
    usual = np.array(USUAL_EXPONENTS)
    exponents = np.tile(usual, (stage.order, 1))
    for _ in range(MAX_ITERATIONS):
        gradient, curvature = PRIOR_TOKENS * (usual - exponents), np.tile(PRIOR_TOKENS * np.eye(2), (stage.order, 1, 1))
        for rows in blocks(*log_probs_NV.shape):
            part = stage.part(rows)
            slopes, variances = _derivatives(log_probs_NV[rows], part, targets_N[rows], exponents[part.matched_N])
            np.add.at(gradient, part.matched_N, slopes)
            np.add.at(curvature, part.matched_N, variances)
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        exponents += np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        if (gradient * step).sum() <= SMALLEST_GAIN * len(targets_N):
            break
    return exponents


def _derivatives(log_probs_NV: LogProbs, stage: Stage, targets_N: Ids, exponents_N2: Floats) -> tuple[Floats, Floats]:
    """Return the gradient (N, 2) of each token's log probability by its two exponents, and minus its Hessian (N, 2, 2).

    They are the target's log probabilities by network and n-gram model less their means, and the covariance, under the mixture.
    """
    parts = log_probs_NV, stage.log_probs_NV
    probs_NV = _scores(*parts, exponents_N2)
    np.exp(probs_NV, out=probs_NV)
    probs_NV /= probs_NV.sum(axis=1, keepdims=True)
    weighted = [probs_NV * part for part in parts]
    means_N2 = np.stack([each.sum(axis=1) for each in weighted], axis=1).astype(np.float64)
    products = np.stack([[np.einsum("nv,nv->n", first, second) for second in parts] for first in weighted]).T
    found_N2 = np.stack([_of_targets(part, targets_N) for part in parts], axis=1)
    return found_N2 - means_N2, products - means_N2[:, :, None] * means_N2[:, None, :]


def _fit_shares(probs: Sequence[Floats], stage: Stage) -> Floats:
    """Return the shares (order, 3), given the probability of each token under each component (N,), by the EM algorithm."""

    def common_shares(_: Floats, posteriors: Iterator[Floats]) -> Floats:
        found = np.array([each.sum() for each in posteriors]) + np.array(COMMON_PRIOR)
        return np.asarray(found / found.sum())

    common = fit_mixture_weights(
        np.array(COMMON_PRIOR) / sum(COMMON_PRIOR),
        probs,
        expand=list,
        maximize=common_shares,
        max_iterations=EM_ITERATIONS,
    )

    def class_shares(_: Floats, posteriors: Iterator[Floats]) -> Floats:
        sums = [np.bincount(stage.matched_N, each, stage.order) for each in posteriors]
        found = np.stack(sums, axis=1) + PRIOR_TOKENS * common
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    return fit_mixture_weights(
        np.tile(common, (stage.order, 1)),
        probs,
        expand=lambda shares: list(shares[stage.matched_N].T),
        maximize=class_shares,
        max_iterations=EM_ITERATIONS,
    )


def fit_stages(log_probs_NV: LogProbs, stages: Sequence[Stage], targets_N: Ids) -> list[Floats]:
    """Return the weights (order, NUM_WEIGHTS) of each stage, fitted to what the stages before it give (see `fit_weights`)."""
    found: list[Floats] = []
    for number, stage in enumerate(stages):
        if number:
            log_probs_NV = after(log_probs_NV, stages[number - 1], found[-1])
        found.append(fit_weights(log_probs_NV, stage, targets_N))
    return found


def after(log_probs_NV: LogProbs, stage: Stage, weights: Floats) -> LogProbs:
    """Return the log probabilities (N, V) after a stage, in the precision of those before it."""
    result = np.empty_like(log_probs_NV)
    for rows in blocks(*log_probs_NV.shape):
        result[rows] = mixed(log_probs_NV[rows], stage.log_probs_NV[rows], weights[stage.matched_N[rows]])
    return result


def target_log_probs(
    log_probs_NV: LogProbs, stages: Sequence[Stage], weights: Sequence[Floats], targets_N: Ids
) -> Floats:
    """Return the log probabilities (N,) of the targets after some stages."""
    found_N = np.empty(len(targets_N))
    for rows in blocks(*log_probs_NV.shape):
        mixed_NV, targets = log_probs_NV[rows], targets_N[rows]
        *before, last = zip(stages, weights, strict=True)
        for stage, each in before:
            mixed_NV = after(mixed_NV, stage.part(rows), each)
        stage, of_last = last[0].part(rows), last[1]
        components = [_geometric_targets(mixed_NV, stage, of_last, targets)]
        components += [_of_targets(each, targets) for each in (mixed_NV, stage.log_probs_NV)]
        shares = of_last[stage.matched_N, 2:].T
        found_N[rows] = np.log(sum(share * np.exp(each) for share, each in zip(shares, components, strict=True)))
    return found_N


def _geometric_targets(log_probs_NV: LogProbs, stage: Stage, weights: Floats, targets_N: Ids) -> Floats:
    """Return the log probabilities (N,) of the targets under the geometric mixture alone."""
    scores_NV = _scores(log_probs_NV, stage.log_probs_NV, weights[stage.matched_N, :2])
    found_N = _of_targets(scores_NV, targets_N)
    np.exp(scores_NV, out=scores_NV)
    return np.asarray(found_N - np.log(scores_NV.sum(axis=1, dtype=np.float64)))


def _scores(log_probs_NV: LogProbs, ngram_log_probs_NV: LogProbs, exponents_N2: Floats) -> LogProbs:
    """Return unnormalized log probabilities (N, V) of a geometric mixture, none above 0, in the precision of the network's."""
    exponents = exponents_N2.astype(log_probs_NV.dtype)
    scores_NV = exponents[:, :1] * log_probs_NV
    scores_NV += exponents[:, 1:] * ngram_log_probs_NV
    scores_NV -= scores_NV.max(axis=1, keepdims=True)
    return scores_NV


def _of_targets(log_probs_NV: LogProbs, targets_N: Ids) -> Floats:
    return np.take_along_axis(log_probs_NV, targets_N[:, None], axis=1)[:, 0].astype(np.float64)


def blocks(num_tokens: int, vocab_size: int) -> Iterator[slice]:
    """Yield parts of N tokens whose distributions are together a few megabytes."""
    size = max(1, NUMBERS_AT_ONCE // vocab_size)
    return (slice(first, first + size) for first in range(0, num_tokens, size))
