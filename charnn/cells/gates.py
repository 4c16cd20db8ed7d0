"""Functions common to the cells: recurrent products, splitting of gates, the logistic function."""

from collections.abc import Mapping
from typing import Any

Array = Any
"""A NumPy array or a torch tensor."""
Weights = Mapping[str, Array]
"""One layer's parameters by name; in training also `RECURRENT_MASK`, with variational dropout."""

RECURRENT_MASK = "recurrent_mask"
"""Name of the mask (B, H) by which the previous output is multiplied in recurrent products: variational dropout."""


def recurrent_product(weights: Weights, hidden_BH: Array, name: str = "weight_hh") -> Array:
    """Return U h (B, rows of U) for a matrix U that is applied to the layer's previous output."""
    if RECURRENT_MASK in weights:
        hidden_BH = hidden_BH * weights[RECURRENT_MASK]
    return hidden_BH @ weights[name].T


def split_gates(gates_BG: Array, num_gates: int) -> tuple[Array, ...]:
    """Split (B, G) into `num_gates` blocks (B, H)."""
    return tuple(gates_BG.reshape(len(gates_BG), num_gates, -1).swapaxes(0, 1))


def sigmoid(x: Array, xp: Any) -> Array:
    """Return 1 / (1 + exp(-x)): the array's own method, or computed with tanh, which cannot overflow."""
    if hasattr(x, "sigmoid"):
        return x.sigmoid()
    return xp.tanh(x * 0.5) * 0.5 + 0.5
