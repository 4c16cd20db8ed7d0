"""The simple recurrent network, and leaky units."""

from collections.abc import Callable, Sequence
from typing import Any

from charnn.cells.gates import Array, Weights, recurrent_product, sigmoid

Activation = Callable[[Array, Any], Array]
"""An activation function: (values, xp) -> values."""


def tanh(x: Array, xp: Any) -> Array:
    """Return the hyperbolic tangent."""
    return xp.tanh(x)


def relu(x: Array, xp: Any) -> Array:
    """Return max(x, 0)."""
    return xp.clip(x, 0, None)


def rnn(activation: Activation, projected_BG: Any, recurrent_BG: Any, state: Sequence[Any], xp: Any) -> tuple[Any, ...]:  # noqa: ARG001
    """h' = tanh(W x + U h + b), or relu in place of tanh.

    Source: Elman (1990), Finding structure in time; Le et al. (2015), A simple way to initialize recurrent networks of
    rectified linear units.
    """
    return (activation(projected_BG + recurrent_BG, xp),)


def leaky(
    activation: Activation, weights: Weights, projected_BG: Any, state: Sequence[Any], xp: Any
) -> tuple[Any, ...]:
    """h' = a * h + (1 - a) * tanh(W x + U h + b), a = s(leak) in (0, 1), one per unit; 1 - a is the leaking rate.

    Source: Jaeger et al. (2007), Optimization and applications of echo state networks with leaky-integrator neurons.
    """
    (hidden,) = state
    new = activation(projected_BG + recurrent_product(weights, hidden) + weights["bias_hh"], xp)
    return (new + sigmoid(weights["leak"], xp) * (hidden - new),)
