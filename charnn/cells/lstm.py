"""Long short-term memory."""

from collections.abc import Sequence
from typing import Any

from charnn.cells.gates import sigmoid, split_gates


def lstm(projected_BG: Any, recurrent_BG: Any, state: Sequence[Any], xp: Any) -> tuple[Any, ...]:
    """c' = s(f) * c + s(i) * tanh(g), h' = s(o) * tanh(c').

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000). Gate order i, f, g, o.
    """
    _, memory = state
    input_gate, forget_gate, candidate, output_gate = split_gates(projected_BG + recurrent_BG, 4)
    memory = sigmoid(forget_gate, xp) * memory + sigmoid(input_gate, xp) * xp.tanh(candidate)
    return (sigmoid(output_gate, xp) * xp.tanh(memory), memory)
