"""One-dimensional minimization, temperature scaling, and the EM algorithm for mixture weights.

Arrays only need arithmetic, so NumPy is not imported here.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Weights = TypeVar("Weights")

TEMPERATURES, TEMPERATURE_TOLERANCE = (0.5, 2.0), 1e-3


def golden_section_minimize(function: Callable[[float], float], low: float, high: float, *, tolerance: float) -> float:
    """Return the minimizer of a unimodal function of one variable.

    Args:
        low, high: the search interval.
        tolerance: length of the interval at which the search stops.

    Source: Kiefer (1953), Sequential minimax search for a maximum.
    """
    ratio = (math.sqrt(5) - 1) / 2
    inner = [high - ratio * (high - low), low + ratio * (high - low)]
    values = [function(point) for point in inner]
    while high - low > tolerance:
        if values[0] <= values[1]:
            high, inner, values = inner[1], [inner[1] - ratio * (inner[1] - low), inner[0]], [math.nan, values[0]]
            values[0] = function(inner[0])
        else:
            low, inner, values = inner[0], [inner[1], inner[0] + ratio * (high - inner[0])], [values[1], math.nan]
            values[1] = function(inner[1])
    return inner[values[1] < values[0]]


def fit_temperature(loss: Callable[[float], float]) -> float:
    """Return the softmax temperature between 0.5 and 2 with the lowest loss.

    Args:
        loss: cross-entropy of a held-out text at a temperature.

    Source: Guo et al. (2017), On calibration of modern neural networks.
    """
    return golden_section_minimize(loss, *TEMPERATURES, tolerance=TEMPERATURE_TOLERANCE)


def fit_mixture_weights(
    weights: Weights,
    probs: Sequence[Any],
    *,
    expand: Callable[[Weights], Sequence[Any]],
    maximize: Callable[[Weights, Iterator[Any]], Weights],
    max_iterations: int,
    has_converged: Callable[[Weights, Weights], bool] | None = None,
) -> Weights:
    """Return the weights of a mixture's components after expectation maximization.

    Args:
        weights: initial weights, in any parametrization.
        probs: probability of each token under each component, K arrays (N,).
        expand: returns the weight of each component, K numbers or arrays (N,).
        maximize: the M step: returns new weights, from the old ones and each component's posterior probabilities (N,),
            which are computed lazily.
        max_iterations: maximum number of EM iterations.
        has_converged: decides from the weights before and after an iteration whether to stop.

    Source: Dempster, Laird and Rubin (1977); Jelinek and Mercer (1980) for language models.
    """
    for _ in range(max_iterations):
        before, weights = weights, maximize(weights, _posteriors(expand(weights), probs))
        if has_converged is not None and has_converged(before, weights):
            break
    return weights


def _posteriors(weights: Sequence[Any], probs: Sequence[Any]) -> Iterator[Any]:
    """Yield each component's posterior probability of having generated each token (N,), by Bayes' rule: the E step."""
    joint = [weight * prob for weight, prob in zip(weights, probs, strict=True)]
    total = sum(joint[1:], start=joint[0])
    return (each / total for each in joint)
