"""The recurrences, as equations: the same lines run on NumPy arrays and on torch tensors.

A cell is a number of gate blocks and a function that combines two projections into the next state: that of its input,
`W_ih x + b_ih`, computed for all time steps before the loop, and that of its previous output, `W_hh h + b_hh`. Weights
keep torch's order of gates, so that `torch.nn.LSTM`, `GRU` and `RNN` load them as they are. To add a cell, write one
function and register it in `CELLS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from charnn.cells.gru import gru
from charnn.cells.lstm import lstm
from charnn.cells.rnn import rnn

Array = Any
"""A NumPy array or a torch tensor."""
Namespace = Any
"""The module of array functions, `numpy` or `torch`: tanh is all that the cells use of it."""
State = tuple[Array, ...]
"""A layer's memory: arrays (B, H), the output first."""


@dataclass(frozen=True)
class Cell:
    """A recurrence.

    Args:
        num_gates: blocks of H rows in W_ih, W_hh and the biases.
        num_states: arrays (B, H) in a state; the first is the output.
        additive: whether only the sum of the two projections matters, so that one product over [W_ih|W_hh] will do.
        combine: (projected_BG, recurrent_BG, state, xp) -> state.
    """

    name: str
    num_gates: int
    num_states: int
    additive: bool
    combine: Callable[[Array, Array, Sequence[Array], Namespace], State]


CELLS = {
    cell.name: cell
    for cell in (
        Cell("rnn", num_gates=1, num_states=1, additive=True, combine=rnn),
        Cell("gru", num_gates=3, num_states=1, additive=False, combine=gru),
        Cell("lstm", num_gates=4, num_states=2, additive=True, combine=lstm),
    )
}


@dataclass(frozen=True)
class CellWeights:
    """One layer's parameters, G = num_gates x H.

    Args:
        weight_ih: (G, I), applied to the input.
        weight_hh: (G, H), applied to the previous output.
        bias_ih, bias_hh: (G,).
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


def project(weights: CellWeights, inputs: Array) -> Array:
    """Return the input projection W_ih x + b_ih for inputs (..., I): (..., G)."""
    return inputs @ weights.weight_ih.T + weights.bias_ih


def step(cell: Cell, weights: CellWeights, projected_BG: Array, state: Sequence[Array], xp: Namespace) -> State:
    """Advance a cell by one token.

    Args:
        projected_BG: input projection of this token.
        state: what the last step returned, arrays (B, H).

    Returns:
        The new state, the output first.
    """
    recurrent_BG = state[0] @ weights.weight_hh.T + weights.bias_hh
    return cell.combine(projected_BG, recurrent_BG, state, xp)
