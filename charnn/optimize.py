"""Finding where a function of one number is lowest."""

import math
from collections.abc import Callable


def lowest(loss_at: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Return where a function of one valley is lowest, by golden-section search (Kiefer 1953)."""
    ratio = (math.sqrt(5) - 1) / 2
    inner = [high - ratio * (high - low), low + ratio * (high - low)]
    losses = [loss_at(place) for place in inner]
    while high - low > tolerance:
        if losses[0] <= losses[1]:
            high, inner, losses = inner[1], [inner[1] - ratio * (inner[1] - low), inner[0]], [math.nan, losses[0]]
            losses[0] = loss_at(inner[0])
        else:
            low, inner, losses = inner[0], [inner[1], inner[0] + ratio * (high - inner[0])], [losses[1], math.nan]
            losses[1] = loss_at(inner[1])
    return inner[losses[1] < losses[0]]
