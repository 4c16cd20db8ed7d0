"""Cells whose gates do not depend on the previous output: h' = a * h + b, where a and b do not depend on h."""

from typing import Any

from charnn.cells.gates import Array, sigmoid


def positive(x: Array, xp: Any) -> Array:
    """g(x) = x + 0.5 for x >= 0, s(x) below: increasing and positive."""
    return xp.where(x >= 0, x + 0.5, sigmoid(x, xp))


def mingru(projected: Array, xp: Any) -> tuple[Array, Array]:
    """h' = (1 - z) * h + z * g(W_h x), z = s(W_z x): a = 1 - z, b = z * g.

    Args:
        projected: gates z, h for any number of tokens (..., 2H).

    Returns:
        a and b (..., H).

    Source: Feng et al. (2024), Were RNNs all we needed?
    """
    size = projected.shape[-1] // 2
    update, candidate = projected[..., :size], projected[..., size:]
    return sigmoid(-update, xp), sigmoid(update, xp) * positive(candidate, xp)


def minlstm(projected: Array, xp: Any) -> tuple[Array, Array]:
    """h' = f' * h + i' * g(W_h x), f' = f / (f + i), i' = i / (f + i), f = s(W_f x), i = s(W_i x).

    The ratio is computed as s(log f - log i), which is accurate when both gates are nearly closed.

    Args:
        projected: gates f, i, h for any number of tokens (..., 3H).

    Returns:
        f' and i' * g (..., H).

    Source: Feng et al. (2024), Were RNNs all we needed?
    """
    size = projected.shape[-1] // 3
    forget, input_gate, candidate = (projected[..., number * size : (number + 1) * size] for number in range(3))
    zero = forget * 0
    difference = xp.logaddexp(zero, -input_gate) - xp.logaddexp(zero, -forget)
    return sigmoid(difference, xp), sigmoid(-difference, xp) * positive(candidate, xp)
