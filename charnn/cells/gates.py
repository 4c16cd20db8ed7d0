"""What the cells share: cutting a projection into its gates, and the logistic function."""

from typing import Any


def split_gates(gates_BG: Any, num_gates: int) -> tuple[Any, ...]:
    """Cut (..., G) into `num_gates` blocks (..., H)."""
    size = gates_BG.shape[-1] // num_gates
    return tuple(gates_BG[..., number * size : (number + 1) * size] for number in range(num_gates))


def sigmoid(x: Any, xp: Any) -> Any:
    """Return 1 / (1 + exp(-x)) by way of tanh, which both array libraries have and which cannot overflow."""
    return xp.tanh(x * 0.5) * 0.5 + 0.5
