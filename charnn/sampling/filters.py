"""Filters: pure functions on log probabilities (B, V), each returning new ones that need not sum to 1.

They are applied in this order: penalties for recent tokens (`penalised`), biases (`biased`, which
also excludes tokens), temperature (`tempered`), then top-k, typical-p, top-p and min-p, each on what the
ones before it have left. What is ruled out gets minus infinity.

A filter that leaves tokens out also says how near its decision was, as a margin (B,): had no log probability been off by as
much, it would have left out the same ones. Two ways of adding up the same product differ in the last bits, and where a
margin is smaller than that, they may disagree.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LogProbs = npt.NDArray[np.float64]
Margins = npt.NDArray[np.float64]

LARGE_VOCABULARY, SORTED_FIRST = 1024, 128
"""Of a large vocabulary, this many of the most probable tokens are sorted first, then four times as many."""


class Filtered(NamedTuple):
    """The log probabilities after a filter (B, V), and its margin (B,)."""

    log_probs_BV: LogProbs
    margin_B: Margins


def penalised(
    log_probs_BV: LogProbs,
    recent: Sequence[Sequence[int]],
    *,
    repetition: float = 1.0,
    presence: float = 0.0,
    frequency: float = 0.0,
) -> LogProbs:
    """Lower the log probability of recent tokens.

    Args:
        log_probs_BV: normalised log probabilities.
        recent: the last tokens of each stream.
        repetition: what their log probability is multiplied by.
        presence: what is taken from it, in nats.
        frequency: what is taken from it for each time that the token was there, in nats.

    Source: Keskar et al. (2019), CTRL, for the first, here on log probabilities in place of logits, which have no zero of their
        own.
    """
    changed = log_probs_BV.copy()
    for row, ids in enumerate(recent):
        indices, counts = np.unique(np.asarray(ids, dtype=np.int64), return_counts=True)
        changed[row, indices] = changed[row, indices] * repetition - presence - frequency * counts
    return changed


def biased(log_probs_BV: LogProbs, bias: LogProbs) -> LogProbs:
    """Add a bias (V,) or (B, V) in nats, minus infinity for excluded tokens."""
    return np.asarray(log_probs_BV + bias)


def tempered(log_probs_BV: LogProbs, temperature: float) -> LogProbs:
    """Divide by a temperature above 0: p^(1/temperature), not yet normalised."""
    with np.errstate(over="ignore"):  # near zero, all but the most probable get minus infinity
        changed: LogProbs = (log_probs_BV - log_probs_BV.max(axis=1, keepdims=True)) / temperature
    return changed


def keep_top_k(log_probs_BV: LogProbs, k: int) -> Filtered:
    """Keep the k most probable tokens, and all that are as probable as the k-th."""
    num_tokens = log_probs_BV.shape[1]
    if k >= num_tokens:
        return Filtered(log_probs_BV, np.full(len(log_probs_BV), np.inf))
    last, next_one = kth_largest(log_probs_BV, k, k + 1)
    kept = np.where(log_probs_BV >= last[:, None], log_probs_BV, -np.inf)
    return Filtered(kept, _gap(last, next_one))


def kth_largest(values: LogProbs, *ranks: int) -> list[LogProbs]:
    """Return the k-th largest of values (..., V), for each of some k from 1 on."""
    ordered = np.partition(values, [-rank for rank in ranks], axis=-1)
    return [ordered[..., -rank] for rank in ranks]


def keep_top_p(log_probs_BV: LogProbs, p: float) -> Filtered:
    """Keep the fewest most probable tokens whose probabilities sum to at least p.

    Source: Holtzman et al. (2020), The curious case of neural text degeneration.
    """
    kept, margin, _ = _keep_fewest(log_probs_BV, -log_probs_BV, p)
    return Filtered(kept, margin)


def top_p_bound(weights_V: LogProbs, p: float) -> float | None:
    """Return the weight of the last token that top-p keeps, or None where another one has the same.

    The same decision as `keep_top_p`'s, on weights in place of log probabilities and without a margin. For one row it takes a
    seventh of the time, which a sampler of one stream spends on every token.

    Args:
        weights_V: probabilities, which need not sum to 1.
    """
    wanted = p * np.add.reduce(weights_V)
    size = SORTED_FIRST if len(weights_V) > LARGE_VOCABULARY else len(weights_V)
    while True:
        largest = weights_V if size == len(weights_V) else np.partition(weights_V, -size)[-size:]
        largest = np.sort(largest)[::-1]
        sums = np.add.accumulate(largest)
        if sums[-1] >= wanted or size == len(weights_V):
            break
        size = min(4 * size, len(weights_V))
    last = int(sums.searchsorted(wanted))
    if last >= len(largest):
        return None
    bound = largest[last]
    is_tied = last + 1 < len(largest) and largest[last + 1] == bound
    return None if is_tied or bound == 0 else float(bound)


def keep_typical_p(log_probs_BV: LogProbs, p: float) -> Filtered:
    """Keep the fewest tokens whose probabilities sum to at least p, those first whose surprisal is nearest to the mean one.

    Source: Meister et al. (2023), Locally typical sampling.
    """
    probs = normalised(log_probs_BV)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprisals = -np.log(probs)
        entropy = np.where(probs > 0, probs * surprisals, 0).sum(axis=1, keepdims=True)
        distances = np.abs(surprisals - entropy)
        spread = np.where(probs > 0, probs * distances, 0).sum(axis=1)
    kept, margin, last_gap = _keep_fewest(log_probs_BV, distances, p)
    margin = np.minimum(margin, last_gap)  # were the last one earlier, those before it might not be needed
    return Filtered(kept, margin / (2 + spread))  # a surprisal may move twice as far, the entropy `spread` times as far


def keep_min_p(log_probs_BV: LogProbs, fraction: float) -> Filtered:
    """Keep the tokens with at least this fraction of the highest probability.

    Source: Nguyen et al. (2024), Turning up the heat: min-p sampling.
    """
    distance = log_probs_BV - (log_probs_BV.max(axis=1, keepdims=True) + np.log(fraction))
    kept = np.where(distance >= 0, log_probs_BV, -np.inf)
    distance[np.arange(len(distance)), log_probs_BV.argmax(axis=1)] = np.inf  # the most probable is always kept
    return Filtered(kept, np.abs(distance).min(axis=1) / 2)


def _keep_fewest(log_probs_BV: LogProbs, keys_BV: LogProbs, p: float) -> tuple[LogProbs, Margins, Margins]:
    """Keep the fewest tokens by rising key whose probabilities sum to at least p, always including the first.

    Returns:
        What is left, by what margin in its keys, and how far the last one's key is from that of the one before it, halved.
    """
    if p == 1:
        return log_probs_BV, *np.full((2, len(log_probs_BV)), np.inf)
    probs = normalised(log_probs_BV)
    num_tokens = probs.shape[1]
    size = min(SORTED_FIRST, num_tokens)
    while True:
        order = _smallest(keys_BV, size)
        sums = np.cumsum(np.take_along_axis(probs, order, axis=1), axis=1)
        if size == num_tokens or (sums[:, -1] >= p).all():
            break
        size = min(4 * size, num_tokens)
    num_kept = np.minimum(np.count_nonzero(sums < p, axis=1) + 1, size)[:, None]
    taken = np.arange(size) < num_kept
    kept = np.full_like(log_probs_BV, -np.inf)
    np.put_along_axis(kept, order, np.where(taken, np.take_along_axis(log_probs_BV, order, axis=1), -np.inf), axis=1)
    keys = np.take_along_axis(keys_BV, order, axis=1)
    last = np.take_along_axis(keys, num_kept - 1, axis=1)[:, 0]
    padded = np.pad(keys, ((0, 0), (1, 1)), constant_values=((0, 0), (-np.inf, np.inf)))
    before = np.take_along_axis(padded, num_kept - 1, axis=1)[:, 0]
    next_one = np.take_along_axis(padded, num_kept + 1, axis=1)[:, 0]
    margin = np.minimum(_gap(next_one, last), np.abs(sums - p).min(axis=1))
    return kept, margin, _gap(last, before)


def _smallest(keys_BV: LogProbs, size: int) -> npt.NDArray[np.intp]:
    """Return the positions of the `size` smallest keys (B, size), the smallest first, equal ones in the order of position."""
    if size == keys_BV.shape[1]:
        return np.argsort(keys_BV, axis=1, kind="stable")
    indices = np.sort(np.argpartition(keys_BV, size - 1, axis=1)[:, :size], axis=1)
    by_key = np.argsort(np.take_along_axis(keys_BV, indices, axis=1), axis=1, kind="stable")
    return np.take_along_axis(indices, by_key, axis=1)


def _gap(larger: LogProbs, smaller: LogProbs) -> Margins:
    """Return half of a difference, infinite where one of the two is."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num((larger - smaller) / 2, nan=np.inf, posinf=np.inf)


def normalised(log_probs_BV: LogProbs) -> npt.NDArray[np.float64]:
    """Return probabilities that sum to 1."""
    probs: LogProbs = np.exp(log_probs_BV - log_probs_BV.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    return probs
