"""Sampling from categorical distributions, and integer hashing.

Random numbers are passed in by the caller, so that a sample is a function of them. Arrays are those of NumPy or torch;
neither is imported here.
"""

from typing import Any

_FIRST_FACTOR, _SECOND_FACTOR, _MASK = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 2**64 - 1
WEYL_INCREMENT = 0x9E3779B97F4A7C15
"""The increment of the state in SplitMix64: 2^64 divided by the golden ratio."""


def draw(cumulative_V: Any, uniform: float) -> int:
    """Draw a token by inverse transform sampling.

    Args:
        cumulative_V: cumulative sums of the tokens' probabilities, which need not sum to 1, as a NumPy array (V,).
        uniform: random number in [0, 1).

    Returns:
        The first token at which the cumulative distribution exceeds the number.

    Source: Devroye (1986), Non-uniform random variate generation, section III.2.
    """
    threshold = uniform * float(cumulative_V[-1])
    return min(int(cumulative_V.searchsorted(threshold, "right")), len(cumulative_V) - 1)


def draw_rows(cumulative_NV: Any, uniforms_N: Any, xp: Any) -> Any:
    """Draw a token from each of N distributions, equal to `draw` on each row.

    Args:
        xp: numpy or torch.

    Returns:
        Token ids (N,).
    """
    thresholds_N = uniforms_N * cumulative_NV[:, -1]
    return xp.count_nonzero(cumulative_NV[:, :-1] <= thresholds_N[:, None], 1)


def splitmix64(state: Any) -> Any:
    """Return the output of SplitMix64 for a state: 64 bits that depend on every bit of it.

    Args:
        state: an integer, or a NumPy array of uint64.

    Source: Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators.
    """
    mixed = ((state ^ (state >> 30)) * _FIRST_FACTOR) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * _SECOND_FACTOR) & _MASK
    return mixed ^ (mixed >> 31)
