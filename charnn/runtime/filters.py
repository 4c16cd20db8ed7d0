"""What may be drawn: pure functions on log probabilities (B, V), each returning new ones that need not sum to 1.

They are applied in this order: the ban of <unk>, temperature, top-k, top-p. What is ruled out gets minus infinity.
"""

import numpy as np
import numpy.typing as npt

LogProbs = npt.NDArray[np.float64]


def ban(log_probs_BV: LogProbs, id: int) -> LogProbs:
    """Rule out one token."""
    banned = log_probs_BV.copy()
    banned[:, id] = -np.inf
    return banned


def temper(log_probs_BV: LogProbs, temperature: float) -> LogProbs:
    """Divide by a temperature above 0: p^(1/temperature), not yet normalised."""
    with np.errstate(over="ignore"):  # near zero, all but the likeliest get minus infinity
        tempered: LogProbs = (log_probs_BV - log_probs_BV.max(axis=1, keepdims=True)) / temperature
    return tempered


def keep_top_k(log_probs_BV: LogProbs, k: int) -> LogProbs:
    """Keep the k likeliest tokens, all of them where several are as likely as the k-th."""
    if k >= log_probs_BV.shape[1]:
        return log_probs_BV
    kth = np.partition(log_probs_BV, -k, axis=1)[:, -k, None]
    return np.where(log_probs_BV >= kth, log_probs_BV, -np.inf)


def keep_top_p(log_probs_BV: LogProbs, p: float) -> LogProbs:
    """Keep the fewest likeliest tokens whose probabilities reach p together.

    Source: Holtzman et al. (2020), The curious case of neural text degeneration.
    """
    probs = normalised(log_probs_BV)
    order = np.argsort(-probs, axis=1, kind="stable")
    sorted_probs = np.take_along_axis(probs, order, axis=1)
    before = np.cumsum(sorted_probs, axis=1) - sorted_probs
    kept = np.empty_like(probs, dtype=bool)
    np.put_along_axis(kept, order, before < p, axis=1)
    return np.where(kept, log_probs_BV, -np.inf)


def normalised(log_probs_BV: LogProbs) -> npt.NDArray[np.float64]:
    """Return probabilities that sum to 1."""
    probs: LogProbs = np.exp(log_probs_BV - log_probs_BV.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    return probs
