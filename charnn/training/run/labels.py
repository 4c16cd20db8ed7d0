"""How often the label of a held-out unit is the most probable one, by Bayes' rule."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.ngrams.kneser_ney import NgramModel
from charnn.optimize import golden_section_minimize
from charnn.text.facts import LabelFacts
from charnn.text.vocabulary import Vocabulary
from charnn.training.evaluation import held_out_log_probs
from charnn.training.held_out import HeldOutText
from charnn.training.network.network import Network
from charnn.training.parallel.workers import Workers

EVALUATIONS = 10
"""The tokens that are read, as a multiple of those of an evaluation, unless that is too few."""
MIN_TOKENS, MOST_LABELS = 2_000, 200
TOLERANCE, NUM_ROUNDS = 1e-3, 8
"""Of the weights, which are between 0 and 1, and are fitted in turn."""
Floats = npt.NDArray[np.float64]


class LabelMetrics(NamedTuple):
    """Accuracy on held-out units.

    Args:
        accuracy: fraction of the units whose label is the most probable one given their text.
        majority: fraction of the units that have the most frequent label of the training part.
        num_units: number of units; those with labels that no training unit has count as wrong.
        network_weight, ngram_weight: factors of log P(unit | label), fitted to these units.
    """

    accuracy: float
    majority: float
    num_units: int
    network_weight: float
    ngram_weight: float


def measure_labels(
    network: Network,
    text: HeldOutText,
    vocabulary: Vocabulary,
    labels: Sequence[LabelFacts],
    *,
    ngrams: Sequence[NgramModel],
    tokens_per_evaluation: int,
    workers: Workers | None = None,
) -> LabelMetrics | None:
    """Classify held-out units by Bayes' rule; None if nothing is held out, or there are more than `MOST_LABELS` labels.

    Args:
        network: on its device.
        text: with the labels of its units.
        labels: of the training part, with their counts.
        ngrams: n-gram models of the labels; none if there are none.
        tokens_per_evaluation: of the held-out text; as each unit is read once for each label, a part of a long text is read.
        workers: threads among which the forward passes are divided; by default, only the calling thread.
    """
    if text.labels is None or not len(text) or not 1 <= len(labels) <= MOST_LABELS:
        return None
    part = text.part(vocabulary, max_tokens=max(MIN_TOKENS, EVALUATIONS * tokens_per_evaluation // len(labels)))
    assert part.unit_labels is not None
    starts = np.append(0, np.flatnonzero(part.tokens == vocabulary.boundary_id)[:-1] + 1)
    by_network_NL, by_ngrams_NL = np.zeros((2, len(starts), len(labels)))
    for label in range(len(labels)):
        read_as = replace(part, unit_labels=np.full(len(starts), label + 1))
        log_probs = held_out_log_probs(network, read_as, vocabulary, workers=workers).astype(np.float64)
        by_network_NL[:, label] = np.add.reduceat(log_probs, starts)
    for label, model in enumerate(ngrams):
        probs = model.read_text(part.tokens, boundary_id=part.boundary_id, cut_at_boundary=True).probs
        by_ngrams_NL[:, label] = np.add.reduceat(np.log(probs.astype(np.float64)), starts)
    log_priors_L = np.log([each.num_train for each in labels])
    weights = _fitted_weights([by_network_NL, by_ngrams_NL], log_priors_L, part.unit_labels)
    found = (weights[0] * by_network_NL + weights[1] * by_ngrams_NL + log_priors_L).argmax(axis=1) + 1
    accuracy, majority = (found == part.unit_labels).mean(), (part.unit_labels == 1).mean()
    return LabelMetrics(float(accuracy), float(majority), len(starts), *weights)


def _fitted_weights(
    log_likelihoods: Sequence[Floats], log_priors_L: Floats, labels_N: npt.NDArray[np.int64]
) -> list[float]:
    """Return the weights of log likelihoods (N, L) with the lowest log loss of the labels, which is convex in them."""
    is_known = labels_N > 0
    rows, columns = [each[is_known] for each in log_likelihoods], labels_N[is_known] - 1
    weights = [0.5] * len(rows)

    def loss_at(weight: float, number: int) -> float:
        used = [*weights[:number], weight, *weights[number + 1 :]]
        logits = sum((each * part for each, part in zip(rows, used, strict=True)), log_priors_L)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return -float(np.take_along_axis(log_probs, columns[:, None], axis=1).sum())

    if not is_known.any():
        return [1.0, 0.0]
    for _ in range(NUM_ROUNDS):
        for number, each in enumerate(rows):
            if each.any():
                weights[number] = golden_section_minimize(
                    partial(loss_at, number=number), 0.0, 1.0, tolerance=TOLERANCE
                )
            else:
                weights[number] = 0.0
    return weights
