"""Final metrics: the validation loss, also over fixed windows, of the n-gram model, and interpolated with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.ngrams.counting import MAX_NGRAMS, count_ngrams
from charnn.ngrams.kneser_ney import NgramModel, NgramScores, estimate
from charnn.ngrams.pseudocounts import MAX_SEQUENCE_NGRAMS, estimate_by_pseudocounts
from charnn.notices import notice_logger
from charnn.text.progress import Meter, Report
from charnn.text.stored_ids import release, spaced_parts
from charnn.text.vocabulary import Vocabulary
from charnn.training.evaluation import fixed_window_loss, held_out_log_probs
from charnn.training.held_out import HeldOutText, margin_of_mean
from charnn.training.network.network import Network
from charnn.training.parallel.workers import Workers
from charnn.training.run.mixing import MixtureFit, histories_of

COUNTING_TIME_FRACTION = 0.1
"""Maximum fraction of a time budget for counting n-grams, at `TOKENS_COUNTED_PER_SECOND`."""
TOKENS_COUNTED_PER_SECOND = 2_000_000
MAX_COUNTED_TOKENS = 1 << 27
"""Maximum number of tokens that are counted without a time budget, in ten to sixty seconds."""

logger = notice_logger(__name__)


def estimate_ngrams(
    ids: npt.NDArray[Any],
    vocabulary: Vocabulary,
    *,
    order: int,
    unit: str,
    seconds: float | None,
    report: Report | None = None,
    is_sequence: bool = False,
) -> NgramModel:
    """Estimate the n-gram model of a training text.

    Args:
        ids: the encoded text (N,).
        order: of the n-gram model.
        unit: stream, line or document; n-grams do not cross the boundary of a unit.
        seconds: the time budget; if the text is too long for it, ten evenly spaced parts are counted. None counts up to
            `MAX_COUNTED_TOKENS`.
        report: called with the progress of counting.
        is_sequence: whether the text is DNA or protein sequences, of which Kneser-Ney is a poor estimate.
    """
    ids = _parts_to_count(ids, seconds)
    meter = Meter("counting n-grams", "tokens", len(ids), report)

    def advance(num_tokens: int) -> None:
        release(ids)  # what was read of a memory-mapped text
        meter.advance(num_tokens)

    counts = count_ngrams(
        ids,
        order=order,
        vocab_size=len(vocabulary),
        boundary_id=vocabulary.boundary_id,
        cut_at_boundary=unit != "stream",
        max_ngrams=MAX_SEQUENCE_NGRAMS if is_sequence else MAX_NGRAMS,
        advance=advance,
    )
    return (estimate_by_pseudocounts if is_sequence else estimate)(counts, len(vocabulary))


def tokens_to_count(num_tokens: int, seconds: float | None) -> int:
    """Return the number of tokens from which the n-gram model is estimated, within a budget of some seconds if any."""
    affordable = (
        MAX_COUNTED_TOKENS if seconds is None else int(seconds * COUNTING_TIME_FRACTION * TOKENS_COUNTED_PER_SECOND)
    )
    return min(num_tokens, affordable)


def _parts_to_count(ids: npt.NDArray[Any], seconds: float | None) -> npt.NDArray[Any]:
    """Return the tokens to count: those of a whole text, or of ten evenly spaced parts of a longer one."""
    number = tokens_to_count(len(ids), seconds)
    if number == len(ids):
        return ids
    if seconds is None:
        logger.info(
            f"the n-gram model is estimated from {number:,} of {len(ids):,} training tokens, in ten evenly spaced parts; "
            "counting all of them would take minutes"
        )
    return spaced_parts(ids, max(1, number // 10), 10)


@dataclass(frozen=True)
class FinalMetrics:
    """Metrics of a trained model on held-out text; losses in nats per token.

    Args:
        loss_nats: the validation loss.
        margin_nats: half the width of its 95 % confidence interval, None if the text is too short for one.
        num_tokens: number of tokens over which the losses are means.
        fixed_window_loss_nats: over fixed windows (see `fixed_window_loss`).
        mixture_loss_nats: interpolated with the n-gram model, each half of the text with weights fitted to the other half.
        mixture_weights: fitted to the whole text (order, `mixture.NUM_WEIGHTS`).
        label_mixture_loss_nats: of units with labels, interpolated with the n-gram models of their labels, too.
        label_mixture_weights: those of what is interpolated with these last.
    """

    loss_nats: float
    margin_nats: float | None
    num_tokens: int
    fixed_window_loss_nats: float
    mixture_loss_nats: float | None = None
    mixture_weights: list[list[float]] | None = None
    label_mixture_loss_nats: float | None = None
    label_mixture_weights: list[list[float]] | None = None


def measure_final_metrics(
    network: Network,
    text: HeldOutText,
    vocabulary: Vocabulary,
    *,
    ngrams: NgramModel | None = None,
    label_ngrams: Sequence[NgramModel] = (),
    workers: Workers | None = None,
) -> FinalMetrics:
    """Evaluate a trained network, alone and interpolated with its n-gram model, on held-out text.

    Args:
        network: on its device.
        text: the held-out text.
        vocabulary: of the network.
        ngrams: the n-gram model, if there is one.
        label_ngrams: n-gram models of the labels of units, if there are any.
        workers: threads among which the forward passes are divided; by default, only the calling thread.
    """
    if ngrams is None:
        fit, log_probs = None, held_out_log_probs(network, text, vocabulary, workers=workers).astype(np.float64)
    else:
        fit = MixtureFit(network, text, vocabulary, ngrams, workers=workers)
        log_probs = fit.network_log_probs
    alone = FinalMetrics(
        -float(log_probs.mean()),
        margin_of_mean(-log_probs, text.clusters()),
        len(text),
        fixed_window_loss(network, text, vocabulary, workers=workers).nats_per_token,
    )
    if fit is None:
        return alone
    mixture = fit.fitted()
    (weights,) = mixture.weights
    metrics = replace(alone, mixture_loss_nats=mixture.loss_nats, mixture_weights=weights.tolist())
    if not label_ngrams or text.unit_labels is None or not text.unit_labels.any():
        return metrics
    with_labels = fit.fitted_with_labels(label_ngrams, weights)
    return replace(
        metrics,
        label_mixture_loss_nats=with_labels.loss_nats,
        label_mixture_weights=with_labels.weights[1].tolist(),
    )


def evaluate_ngrams(ngrams: NgramModel, text: HeldOutText) -> NgramScores:
    """Return the probabilities of the tokens of a held-out text by an n-gram model."""
    return ngrams.scores(histories_of(ngrams, text), text.tokens)
