"""The recurrent cells as equations; the same code runs on NumPy arrays and on torch tensors.

A cell consists of the shapes of its weights, an input projection, which is computed for all time steps before the loop, and a
step, which combines the projection of one token with the state. Weights have torch's gate order, so that `torch.nn.LSTM`,
`GRU` and `RNN` can load them unchanged. To add a cell, write one function and register it, in `_MAKERS` or from outside the
package with `register_cell`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from charnn.cells.gates import RECURRENT_MASK, Array, Weights, recurrent_product
from charnn.cells.gru import gru
from charnn.cells.lstm import depth_lstm, depth_project, lstm, mlstm, mogrifier, mogrifier_shapes
from charnn.cells.minimal import mingru, minlstm
from charnn.cells.rnn import leaky, relu, rnn, tanh
from charnn.config import Architecture
from charnn.config.model import REGISTERED_CELLS
from charnn.errors import ModelError, OptionError
from charnn.options import checked_text, shown

__all__ = [
    "CELL_NAMES",
    "RECURRENT_MASK",
    "Array",
    "Cell",
    "Namespace",
    "State",
    "Weights",
    "cell_of",
    "known_cells",
    "layer_shapes",
    "register_cell",
]

Namespace = Any
"""The array module, `numpy` or `torch`."""
State = tuple[Array, ...]
"""The state of a layer: arrays (B, H), the output first."""
Shapes = dict[str, tuple[int, ...]]


def _project(weights: Weights, inputs: Array, xp: Namespace) -> Array:  # noqa: ARG001
    """Return the input projection W_ih x + b_ih for inputs (..., I): (..., G)."""
    projected = inputs @ weights["weight_ih"].T
    return projected + weights["bias_ih"] if "bias_ih" in weights else projected


def _identity(weights: Weights, inputs: Array, xp: Namespace) -> Array:  # noqa: ARG001
    return inputs


@dataclass(frozen=True)
class Cell:
    """A recurrent cell.

    Args:
        shapes: (input size I, hidden size H) -> name and shape of each weight.
        num_gates: number of blocks of H rows in W_ih.
        num_states: number of arrays (B, H) in a state; the first is the output.
        step: (weights, projected_BP, state, xp) -> state.
        combine: (projected_BG, recurrent_BG, state, xp) -> state, for a cell that uses its previous output only in the product
            W_hh h + b_hh; else None.
        is_additive: whether only the sum of the two projections matters, so that one product with [W_ih|W_hh] suffices.
        coefficients: (projected (..., G), xp) -> a, b (..., H), for a cell whose step is h' = a * h + b; else None.
        project: (weights, inputs (..., I), xp) -> input of a step (..., P).
        projects: whether `project` computes W_ih x + b_ih.
        num_outputs: number of arrays of the state, from the first, that are the input of the next layer.
    """

    shapes: Callable[[int, int], Shapes]
    num_gates: int
    num_states: int
    step: Callable[[Weights, Array, Sequence[Array], Namespace], State]
    combine: Callable[[Array, Array, Sequence[Array], Namespace], State] | None = None
    is_additive: bool = False
    coefficients: Callable[[Array, Namespace], tuple[Array, Array]] | None = None
    project: Callable[[Weights, Array, Namespace], Array] = _project
    projects: bool = True
    num_outputs: int = 1


def _recurrent_shapes(num_gates: int, input_size: int, hidden_size: int) -> Shapes:
    rows = num_gates * hidden_size
    return {
        "weight_ih": (rows, input_size),
        "weight_hh": (rows, hidden_size),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
    }


def _recurrent(num_gates: int, num_states: int, combine: Callable[..., State], *, additive: bool) -> Cell:
    """Make a cell that uses its previous output only in the product W_hh h + b_hh."""

    def step(weights: Weights, projected_BG: Array, state: Sequence[Array], xp: Namespace) -> State:
        recurrent_BG = recurrent_product(weights, state[0]) + weights["bias_hh"]
        return combine(projected_BG, recurrent_BG, state, xp)

    shapes = partial(_recurrent_shapes, num_gates)
    return Cell(shapes, num_gates, num_states, step, combine=combine, is_additive=additive)


def _rnn(architecture: Architecture, layer: int) -> Cell:  # noqa: ARG001
    activation = relu if architecture.nonlinearity == "relu" else tanh
    return _recurrent(1, 1, partial(rnn, activation), additive=True)


def _leaky(architecture: Architecture, layer: int) -> Cell:  # noqa: ARG001
    activation = relu if architecture.nonlinearity == "relu" else tanh

    def shapes(input_size: int, hidden_size: int) -> Shapes:
        return {**_recurrent_shapes(1, input_size, hidden_size), "leak": (hidden_size,)}

    return Cell(shapes, 1, 1, partial(leaky, activation))


def _gru(architecture: Architecture, layer: int) -> Cell:  # noqa: ARG001
    return _recurrent(3, 1, gru, additive=False)


def _lstm(architecture: Architecture, layer: int) -> Cell:  # noqa: ARG001
    return _recurrent(4, 2, lstm, additive=True)


def _mlstm(architecture: Architecture, layer: int) -> Cell:  # noqa: ARG001
    def shapes(input_size: int, hidden_size: int) -> Shapes:
        return {
            "weight_ih": (5 * hidden_size, input_size),
            "weight_mh": (hidden_size, hidden_size),
            "weight_hh": (4 * hidden_size, hidden_size),
            "bias_hh": (4 * hidden_size,),
        }

    return Cell(shapes, 5, 2, mlstm)


def _depth_lstm(architecture: Architecture, layer: int) -> Cell:
    """Make a depth-gated LSTM; the first layer is a plain LSTM, since there is no cell state below it."""
    num_outputs = 1 if layer == architecture.num_layers - 1 else 2
    if not layer:
        return replace(_lstm(architecture, layer), num_outputs=num_outputs)

    def shapes(input_size: int, hidden_size: int) -> Shapes:
        return {
            **_recurrent_shapes(4, input_size, hidden_size),
            "weight_ih": (5 * hidden_size, input_size),
            "bias_ih": (5 * hidden_size,),
            "weight_cd": (hidden_size,),
            "weight_ld": (hidden_size,),
        }

    return Cell(shapes, 5, 2, depth_lstm, project=depth_project, projects=False, num_outputs=num_outputs)


def _mogrifier(architecture: Architecture, layer: int) -> Cell:  # noqa: ARG001
    size = (architecture.mogrifier_rounds, architecture.mogrifier_rank)

    def shapes(input_size: int, hidden_size: int) -> Shapes:
        return {
            **_recurrent_shapes(4, input_size, hidden_size),
            **mogrifier_shapes(*size, input_size, hidden_size),
        }

    return Cell(shapes, 4, 2, partial(mogrifier, *size), project=_identity, projects=False)


def _minimal(coefficients: Callable[[Array, Namespace], tuple[Array, Array]], num_gates: int) -> Callable[..., Cell]:
    def shapes(input_size: int, hidden_size: int) -> Shapes:
        return {"weight_ih": (num_gates * hidden_size, input_size), "bias_ih": (num_gates * hidden_size,)}

    def step(weights: Weights, projected_BG: Array, state: Sequence[Array], xp: Namespace) -> State:  # noqa: ARG001
        decay, new = coefficients(projected_BG, xp)
        return (decay * state[0] + new,)

    return lambda architecture, layer: Cell(shapes, num_gates, 1, step, coefficients=coefficients)  # noqa: ARG005


_MAKERS: dict[str, Callable[[Architecture, int], Cell]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn": _rnn,
    "leaky": _leaky,
    "mogrifier": _mogrifier,
    "mlstm": _mlstm,
    "depth-lstm": _depth_lstm,
    "mingru": _minimal(mingru, 2),
    "minlstm": _minimal(minlstm, 3),
}
CELL_NAMES = tuple(_MAKERS)


def known_cells() -> tuple[str, ...]:
    """Return the names of all cells, including registered ones.

    Example:
        >>> from charnn.cells import known_cells
        >>> "lstm" in known_cells()
        True
    """
    return tuple(_MAKERS)


def register_cell(name: str, cell: Cell | Callable[[Architecture, int], Cell]) -> None:
    """Register a custom cell under a name, for training and for loading models that were trained with it.

    A model stores the name of its cell and no code, so register the cell in each process before loading its models.

    Args:
        name: lower-case name, different from those of the built-in cells.
        cell: the cell, or a function that returns it for an architecture and a layer index.

    Raises:
        OptionError: for an invalid name, or the name of a built-in cell.

    Example:
        >>> def step(weights, projected_BG, state, xp):
        ...     return (xp.tanh(projected_BG + state[0]),)
        >>> def shapes(input_size, hidden_size):
        ...     return {"weight_ih": (hidden_size, input_size), "bias_ih": (hidden_size,)}
        >>> charnn.register_cell("adder", charnn.Cell(shapes, num_gates=1, num_states=1, step=step))
    """
    if checked_text(name, "name") in CELL_NAMES:
        raise OptionError(f"name: found {name!r}, which is a built-in cell; choose another name")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise OptionError(f"name: found {name!r}, but it must consist of lower-case letters, digits and hyphens")
    if not callable(cell) and not isinstance(cell, Cell):
        raise OptionError(f"cell: found {shown(cell)}, but it must be a charnn.Cell, or a function that returns one")
    _MAKERS[name] = cell if not isinstance(cell, Cell) else lambda architecture, layer: cell  # noqa: ARG005
    REGISTERED_CELLS.add(name)


def cell_of(architecture: Architecture, layer: int = 0) -> Cell:
    """Return the cell of a layer, where 0 is the lowest layer.

    Example:
        >>> from charnn.cells import cell_of
        >>> from charnn.config import Architecture
        >>> architecture = Architecture("lstm", vocab_size=9, embedding_size=4, hidden_size=8, num_layers=1)
        >>> cell_of(architecture).num_gates
        4
    """
    name = architecture.cell
    if name not in _MAKERS:
        raise ModelError(
            f"cell: found {name!r}, which is not registered; call charnn.register_cell({name!r}, ...) first"
        )
    cell = _MAKERS[architecture.cell](architecture, layer)
    return _with_skip(cell, architecture.skip) if architecture.skip else cell


def _with_skip(cell: Cell, distance: int) -> Cell:
    """Add a recurrent skip connection: S h from `distance` steps back is added to the input projection.

    The outputs of the previous steps are appended to the state, so that the last is `distance` steps back at the next token.

    Source: Lin et al. (1996), Learning long-term dependencies in NARX recurrent neural networks.
    """

    def shapes(input_size: int, hidden_size: int) -> Shapes:
        inner = cell.shapes(input_size, hidden_size)
        return {**inner, "weight_skip": (inner["weight_ih"][0], hidden_size)}

    def step(weights: Weights, projected_BP: Array, state: Sequence[Array], xp: Namespace) -> State:
        inner_state, earlier = tuple(state[: cell.num_states]), tuple(state[cell.num_states :])
        skipped_BG = recurrent_product(weights, earlier[-1], "weight_skip")
        if projected_BP.shape[-1] > skipped_BG.shape[-1]:  # the cell state of the layer below is passed through
            rows = skipped_BG.shape[-1]
            projected_BP = xp.concatenate((projected_BP[:, :rows] + skipped_BG, projected_BP[:, rows:]), -1)
        else:
            projected_BP = projected_BP + skipped_BG
        return (*cell.step(weights, projected_BP, inner_state, xp), inner_state[0], *earlier[:-1])

    return replace(cell, shapes=shapes, num_states=cell.num_states + distance - 1, step=step, combine=None)


def layer_shapes(architecture: Architecture, layer: int) -> Shapes:
    """Return the name and shape of each weight of a recurrent layer.

    Example:
        >>> from charnn.cells import layer_shapes
        >>> from charnn.config import Architecture
        >>> architecture = Architecture("lstm", vocab_size=9, embedding_size=4, hidden_size=8, num_layers=1)
        >>> layer_shapes(architecture, 0)["weight_ih"]
        (32, 4)
    """
    input_size, hidden_size = architecture.layer_sizes(layer)
    cell = cell_of(architecture, layer)
    shapes = cell.shapes(input_size, hidden_size)
    if architecture.initial_state == "learned":
        shapes |= {f"initial_{number}": (hidden_size,) for number in range(cell.num_states)}
    return shapes
