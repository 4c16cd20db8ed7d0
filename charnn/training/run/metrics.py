"""Final metrics besides the validation loss: over fixed windows, of the n-gram model, and interpolated with it."""

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

COUNTING_TIME_FRACTION = 0.1
"""Maximum fraction of a time budget for counting n-grams, at `TOKENS_COUNTED_PER_SECOND`."""
TOKENS_COUNTED_PER_SECOND = 2_000_000


def estimate_ngrams(
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
        order: of the n-gram model.
        unit: stream, line or document; n-grams do not cross the boundary of a unit.
        seconds: the time budget; if the text is too long for it, ten evenly spaced parts are counted. None counts it all.
        report: called with the progress of counting.
    """
    ids = _spaced_parts(ids, tokens_to_count(len(ids), seconds))
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
    """Return the number of tokens from which the n-gram model is estimated in a time budget of some seconds."""
    if seconds is None:
        return num_tokens
    return min(num_tokens, int(seconds * COUNTING_TIME_FRACTION * TOKENS_COUNTED_PER_SECOND))


def _spaced_parts(ids: npt.NDArray[Any], max_tokens: int) -> npt.NDArray[Any]:
    """Return at most `max_tokens` tokens of a text, from ten evenly spaced positions if it is longer."""
    if len(ids) <= max_tokens:
        return ids
    length = max(1, max_tokens // 10)
    return np.concatenate([ids[start : start + length] for start in range(0, len(ids) - length + 1, len(ids) // 10)])


@dataclass(frozen=True)
class FinalMetrics:
    """Metrics of a trained model besides its validation loss; losses in nats per token.

    Args:
        fixed_window_loss_nats: of the network, over fixed windows (see `fixed_window_loss`).
        mixture_loss_nats: interpolated with the n-gram model, each half of the text with weights fitted to the other half.
        mixture_weights: of the network, by length of the n-gram context, fitted to the whole text (order,).
    """

    fixed_window_loss_nats: float
    mixture_loss_nats: float | None = None
    mixture_weights: list[float] | None = None


def measure_final_metrics(
    network: Network,
    ngrams: NgramModel | None,
    ids: npt.NDArray[np.int64],
    vocabulary: Vocabulary,
    *,
    unit: str,
    workers: Workers | None = None,
) -> FinalMetrics:
    """Evaluate a trained network, alone and interpolated with its n-gram model, on a held-out text (N,)."""
    fixed_window_nats = fixed_window_loss(network, ids, vocabulary, unit=unit, workers=workers).nats_per_token
    if ngrams is None:
        return FinalMetrics(fixed_window_nats)
    log_probs = held_out_log_probs(network, ids, vocabulary, unit=unit, workers=workers).astype(np.float64)
    evaluation = evaluate_ngrams(ngrams, ids, vocabulary, unit=unit)
    weights = fit_weights(log_probs, evaluation, ngrams.order)
    return FinalMetrics(fixed_window_nats, cross_fitted_loss(log_probs, evaluation, ngrams.order), weights.tolist())


def evaluate_ngrams(
    ngrams: NgramModel, ids: npt.NDArray[np.int64], vocabulary: Vocabulary, *, unit: str
) -> NgramScores:
    """Evaluate an n-gram model on a held-out text (N,)."""
    return ngrams.read_text(ids, boundary_id=vocabulary.boundary_id, cut_at_boundary=unit != "stream")
