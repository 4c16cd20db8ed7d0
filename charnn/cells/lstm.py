"""Long short-term memory and its variants. Gate order i, f, g, o."""

from collections.abc import Sequence
from typing import Any

from charnn.cells.gates import RECURRENT_MASK, Array, Weights, recurrent_product, sigmoid, split_gates


def lstm(projected_BG: Any, recurrent_BG: Any, state: Sequence[Any], xp: Any) -> tuple[Any, ...]:
    """c' = s(f) * c + s(i) * tanh(g), h' = s(o) * tanh(c').

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).
    """
    _, cell_state = state
    input_gate, forget_gate, candidate, output_gate = split_gates(projected_BG + recurrent_BG, 4)
    cell_state = sigmoid(forget_gate, xp) * cell_state + sigmoid(input_gate, xp) * xp.tanh(candidate)
    return (sigmoid(output_gate, xp) * xp.tanh(cell_state), cell_state)


def mlstm(weights: Weights, projected_BG: Any, state: Sequence[Any], xp: Any) -> tuple[Any, ...]:
    """m = (W_mx x) * (W_mh h), and an LSTM whose gates see m instead of h.

    Args:
        projected_BG: input projection of the gates, then W_mx x (B, 5H).

    Source: Krause et al. (2016), Multiplicative LSTM for sequence modelling.
    """
    size = state[0].shape[-1]
    factor = projected_BG[:, 4 * size :] * recurrent_product(weights, state[0], "weight_mh")
    return lstm(projected_BG[:, : 4 * size], factor @ weights["weight_hh"].T + weights["bias_hh"], state, xp)


def depth_project(weights: Weights, inputs: Array, xp: Any) -> Array:
    """Return the projection of the output of the layer below (..., 5H), and the cell state of that layer (..., H) unchanged.

    Args:
        inputs: output and cell state of the layer below, concatenated (..., 2H).
    """
    size = inputs.shape[-1] // 2
    projected = inputs[..., :size] @ weights["weight_ih"].T + weights["bias_ih"]
    return xp.concatenate((projected, inputs[..., size:]), -1)


def depth_lstm(weights: Weights, projected_BG: Any, state: Sequence[Any], xp: Any) -> tuple[Any, ...]:
    """An LSTM with a gate from the cell state of the layer below.

    d = s(W_d x + w_c * c + w_l * c_below + b_d), c' = s(f) * c + s(i) * tanh(g) + d * c_below, h' = s(o) * tanh(c').

    Args:
        projected_BG: what `depth_project` returns.

    Source: Yao et al. (2015), Depth-gated LSTM.
    """
    hidden, cell_state = state
    size = hidden.shape[-1]
    recurrent_BG = recurrent_product(weights, hidden) + weights["bias_hh"]
    input_gate, forget_gate, candidate, output_gate = split_gates(projected_BG[:, : 4 * size] + recurrent_BG, 4)
    below = projected_BG[:, 5 * size :]
    depth_gate = projected_BG[:, 4 * size : 5 * size] + weights["weight_cd"] * cell_state + weights["weight_ld"] * below
    cell_state = (
        sigmoid(forget_gate, xp) * cell_state
        + sigmoid(input_gate, xp) * xp.tanh(candidate)
        + sigmoid(depth_gate, xp) * below
    )
    return (sigmoid(output_gate, xp) * xp.tanh(cell_state), cell_state)


def mogrifier(
    num_rounds: int, rank: int, weights: Weights, inputs_BI: Any, state: Sequence[Any], xp: Any
) -> tuple[Any, ...]:
    """Input and previous output gate each other alternately, then an LSTM step follows.

    Round 1, 3, ...: x <- 2 s(Q h + b) * x; round 2, 4, ...: h <- 2 s(R x + b) * h.

    Args:
        num_rounds: number of rounds.
        rank: rank of Q and R as products of two matrices; 0 for full rank.
        inputs_BI: the input itself, since its projection depends on the state.

    Source: Melis et al. (2020), Mogrifier LSTM.
    """
    hidden = state[0]
    if RECURRENT_MASK in weights:
        hidden = hidden * weights[RECURRENT_MASK]
    inputs = inputs_BI
    for number in range(1, num_rounds + 1):
        source = hidden if number % 2 else inputs
        if rank:
            source = source @ weights[f"mogrify_{number}_down"].T
        gate = 2 * sigmoid(source @ weights[f"mogrify_{number}"].T + weights[f"mogrify_{number}_bias"], xp)
        if number % 2:
            inputs = gate * inputs
        else:
            hidden = gate * hidden
    projected_BG = inputs @ weights["weight_ih"].T + weights["bias_ih"]
    return lstm(projected_BG, hidden @ weights["weight_hh"].T + weights["bias_hh"], state, xp)


def mogrifier_shapes(num_rounds: int, rank: int, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the matrices with which input and output gate each other."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(1, num_rounds + 1):
        gated, source = (input_size, hidden_size) if number % 2 else (hidden_size, input_size)
        if rank:
            shapes[f"mogrify_{number}_down"] = (rank, source)
        shapes[f"mogrify_{number}"] = (gated, rank or source)
        shapes[f"mogrify_{number}_bias"] = (gated,)
    return shapes
