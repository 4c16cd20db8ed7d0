"""The figures that stand beside the validation loss: the n-gram model's, the mixture's, and the network's from empty states."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import NgramModel, NgramScores, estimate
from charnn.ngrams.mixture import cross_fitted_loss, fit_weights
from charnn.text.progress import Meter, Report
from charnn.text.vocabulary import Vocabulary
from charnn.training.evaluation import fixed_window_loss, held_out_log_probs
from charnn.training.network.network import Network
from charnn.training.parallel.workers import Workers

SHARE_FOR_COUNTING = 0.1
"""The share of a time budget that the counting of n-grams may take, at `TOKENS_COUNTED_A_SECOND`."""
TOKENS_COUNTED_A_SECOND = 2_000_000


def count_beside(
    ids: npt.NDArray[Any],
    vocabulary: Vocabulary,
    *,
    order: int,
    unit: str,
    seconds: float | None,
    report: Report | None = None,
) -> NgramModel:
    """Estimate the n-gram model of a training text.

    Args:
        ids: the encoded text (N,).
        order: tokens in the longest n-gram.
        seconds: the time budget; of a text that is too long for it, evenly spread parts are counted.
        report: told how far the counting has come.
    """
    ids = _spread_part(ids, tokens_to_count(len(ids), seconds))
    counts = count_ngrams(
        ids,
        order=order,
        vocab_size=len(vocabulary),
        boundary_id=vocabulary.boundary_id,
        cut_at_boundary=unit != "stream",
        advance=Meter("counting n-grams", "tokens", len(ids), report).advance,
    )
    return estimate(counts, len(vocabulary))


def tokens_to_count(num_tokens: int, seconds: float | None) -> int:
    """Return how many tokens of a text the n-gram model is estimated from in a time budget."""
    return (
        num_tokens if seconds is None else min(num_tokens, int(seconds * SHARE_FOR_COUNTING * TOKENS_COUNTED_A_SECOND))
    )


def _spread_part(ids: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """Return a text, or where it is longer than `most` tokens, a tenth of that from each of ten places."""
    if len(ids) <= most:
        return ids
    length = max(1, most // 10)
    return np.concatenate([ids[start : start + length] for start in range(0, len(ids) - length + 1, len(ids) // 10)])


@dataclass(frozen=True)
class Figures:
    """What is said of a model beside its validation loss; losses in nats a token.

    Args:
        valid_loss_cold_nats: the network's, over windows from an empty state (see `fixed_window_loss`).
        mixture_loss_nats: network and n-gram model mixed, each half of the text with weights fitted to the other.
        mixture_weights: the network's weights, fitted to all of it (order,).
    """

    valid_loss_cold_nats: float
    mixture_loss_nats: float | None = None
    mixture_weights: list[float] | None = None


def final_figures(
    network: Network,
    ngrams: NgramModel | None,
    ids: npt.NDArray[np.int64],
    vocabulary: Vocabulary,
    *,
    unit: str,
    workers: Workers | None = None,
) -> Figures:
    """Measure a trained network on a held-out text (N,), and the mixture with its n-gram model."""
    cold = fixed_window_loss(network, ids, vocabulary, unit=unit, workers=workers).nats_per_token
    if ngrams is None:
        return Figures(cold)
    log_probs = held_out_log_probs(network, ids, vocabulary, unit=unit, workers=workers).astype(np.float64)
    reading = read_held_out(ngrams, ids, vocabulary, unit=unit)
    weights = fit_weights(log_probs, reading, ngrams.order)
    return Figures(cold, cross_fitted_loss(log_probs, reading, ngrams.order), weights.tolist())


def read_held_out(ngrams: NgramModel, ids: npt.NDArray[np.int64], vocabulary: Vocabulary, *, unit: str) -> NgramScores:
    """Return what an n-gram model makes of a held-out text (N,)."""
    return ngrams.read_text(ids, boundary_id=vocabulary.boundary_id, cut_at_boundary=unit != "stream")
