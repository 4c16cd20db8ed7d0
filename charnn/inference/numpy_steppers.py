"""Fast steppers for plain LSTMs, GRUs and simple RNNs, the inner loop of sampling, with preallocated buffers.

Hidden states are stored as columns (H, B), with all layers stacked in one array, so that [x|h] of each layer is a slice of it
and no matrix product needs to concatenate its inputs.
"""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charnn.cells.ngram_embedding import summed
from charnn.cells.parameters import layer_weights
from charnn.config import Architecture
from charnn.inference.attention_memory import AttentionMemory, added_bound
from charnn.inference.engine import Engine, EngineState
from charnn.inference.input_projection import Floats, IdArray, Multiply, ProjectedTables, padded, tabulated

MANY_STREAMS = 16
"""With at least this many streams, arithmetic dominates the time of a sigmoid; with fewer, call overhead does."""

Views = tuple[Floats, ...]


def in_single_precision(matrix_GI: Floats) -> Multiply:
    """Return a function that multiplies by a matrix with BLAS."""
    return partial(np.dot, matrix_GI)


def is_fused(architecture: Architecture) -> bool:
    """Return whether a network has a fused stepper."""
    return architecture.cell in FUSED and not architecture.skip and not architecture.residual


def logit_bound(engine: Engine) -> float:
    """Return an upper bound of the logits of a plain LSTM, GRU or RNN, whose outputs are in [-1, 1]; infinite for relu."""
    if engine.architecture.nonlinearity == "relu":
        return math.inf
    bound = float((np.abs(engine.output_VH).sum(axis=1) + np.abs(engine.output_bias_V)).max())
    return bound + added_bound(engine) if engine.attention else bound


def repeat_state(part: npt.NDArray[Any], num_streams: int) -> npt.NDArray[Any]:
    """Repeat the state of a single stream for all streams."""
    return np.repeat(part, num_streams, axis=0) if len(part) == 1 else part


class _Inputs:
    """The input projection of the first layer, for a token and the n-grams that end with it."""

    def __init__(self, engine: Engine, weight_GE: Floats, bias_G: Floats) -> None:
        self._vectors, self._weight_GE, self._bias_G1 = engine.embeddings, weight_GE, bias_G[:, None]
        self._tables = tabulated(engine.embeddings, weight_GE, bias_G)
        self._input_tables = engine.input_tables

    def read(self, ids_B: IdArray, history_BM: IdArray) -> tuple[Floats, IdArray]:
        """Return the input projection (G, B) of the next token of each stream, and the updated history (B, M)."""
        if self._tables is not None and len(ids_B) == 1:
            return self._read_one(self._tables, int(ids_B[0]), history_BM)
        rows_1B, history_BM = self._input_tables.rows(ids_B[None], history_BM, np)
        rows = [row_1B[0] for row_1B in rows_1B]
        if self._tables is not None:
            return self._tables.look_up(rows).T, history_BM
        vectors_BE = summed(table[row] for table, row in zip(self._vectors, rows, strict=True))
        return self._weight_GE @ vectors_BE.T + self._bias_G1, history_BM

    def _read_one(self, tables: ProjectedTables, id: int, history_1M: IdArray) -> tuple[Floats, IdArray]:
        if not history_1M.shape[1]:
            return tables.tokens[id][:, None], history_1M
        rows, history = self._input_tables.rows_of_one(id, history_1M[0].tolist())
        return tables.look_up_one(rows)[:, None], np.array([history])


class _FusedStepper:
    """Base of the fused steppers: the layout of states, and the output layer."""

    def __init__(
        self, engine: Engine, state: EngineState, num_streams: int, keep_matrix: Callable[[Floats], Multiply]
    ) -> None:
        shape = engine.architecture
        self._shape = shape
        self._keep_matrix = keep_matrix
        self._sizes = [shape.layer_sizes(layer)[1] for layer in range(shape.num_layers)]
        self._layers = [layer_weights(engine.weights, layer) for layer in range(shape.num_layers)]
        self._output = keep_matrix(padded(engine.output_VH))
        self._output_bias_V1 = padded(engine.output_bias_V[:, None])
        self.largest_logit = logit_bound(engine)
        self._memory = AttentionMemory(engine, keep_matrix) if engine.attention else None
        self._prepare()
        self._inputs = _Inputs(engine, *self._input_matrix())
        self._begin(state, num_streams)

    def fork(self, state: EngineState, num_streams: int = 1) -> Self:
        """See `Stepper`."""
        other = copy.copy(self)
        other._begin(state, num_streams)
        return other

    def _begin(self, state: EngineState, num_streams: int) -> None:
        layers = state[: self._shape.num_layers]
        self._history_BM: IdArray = np.zeros((num_streams, 0), dtype=np.int64)
        if self._shape.history_size:
            self._history_BM = repeat_state(state[-1][0], num_streams).astype(np.int64)
        if self._memory is not None:
            self._memory = self._memory.begun(state[self._shape.num_layers], num_streams)
        self._set_state([[repeat_state(part, num_streams) for part in layer] for layer in layers])

    def _prepare(self) -> None:
        """Prepare the layout of the weights."""
        raise NotImplementedError

    def _input_matrix(self) -> tuple[Floats, Floats]:
        """Return the input weights (G, E) and the bias (G,) of the first layer."""
        raise NotImplementedError

    def _step_layers(self, projected_GB: Floats) -> None:
        """Advance all layers in place."""
        raise NotImplementedError

    def _make_buffers(self, num_streams: int) -> None:
        """Allocate the buffers of a step."""
        raise NotImplementedError

    def _set_state(self, parts: Sequence[Sequence[Floats]]) -> None:
        """Store states (B, H) as columns, and allocate the buffers of a step."""
        num_streams = len(parts[0][0])
        self._hidden = np.concatenate([layer[0].T for layer in parts]).astype(np.float32, order="C")
        self._cell_states = [[np.array(part.T, dtype=np.float32, order="C") for part in layer[1:]] for layer in parts]
        ends = np.cumsum([0, *self._sizes]).tolist()
        self._layer_hidden = [self._hidden[low:high] for low, high in pairwise(ends)]
        self._layer_inputs = [
            self._layer_hidden[0],
            *(self._hidden[low:high] for low, high in zip(ends, ends[2:], strict=False)),
        ]
        self._logits_VB = np.empty((len(self._output_bias_V1), num_streams), dtype=np.float32)
        self._logits_BV = self._logits_VB[: self._shape.vocab_size].T
        self._make_buffers(num_streams)

    def read(self, ids: IdArray) -> Floats:
        """See `Stepper`."""
        for position in range(len(ids) - 1):
            projected_GB, self._history_BM = self._inputs.read(ids[position : position + 1], self._history_BM)
            self._step_layers(projected_GB)
            if self._memory is not None:
                self._memory.read(self._layer_hidden[-1])
        return self.step(ids[-1:])

    replay = read

    def step(self, ids_B: IdArray) -> Floats:
        """See `Stepper`."""
        projected_GB, self._history_BM = self._inputs.read(ids_B, self._history_BM)
        self._step_layers(projected_GB)
        logits_VB, outputs_HB = self._logits_VB, self._layer_hidden[-1]
        self._output(outputs_HB if self._memory is None else self._memory.attend(outputs_HB), logits_VB)
        np.add(logits_VB, self._output_bias_V1, logits_VB)
        return self._logits_BV

    def keep(self, rows: Sequence[int]) -> None:
        """See `Stepper`."""
        kept = list(rows)
        self._history_BM = self._history_BM[kept]
        if self._memory is not None:
            self._memory = self._memory.keep(kept)
        self._set_state([[part[kept] for part in layer] for layer in self._parts()])

    def state(self) -> EngineState:
        """See `Stepper`."""
        layers = tuple(tuple(part.copy() for part in layer) for layer in self._parts())
        if self._memory is not None:
            layers = (*layers, self._memory.state())
        return (*layers, (self._history_BM.copy(),)) if self._shape.history_size else layers

    def _parts(self) -> list[list[Floats]]:
        return [
            [hidden.T, *(part.T for part in kept)]
            for hidden, kept in zip(self._layer_hidden, self._cell_states, strict=True)
        ]


class AdditiveStepper(_FusedStepper):
    """Cells that depend only on the sum of their two projections: one product with [W_ih|W_hh] per layer."""

    def _gates(self, matrix: Floats, size: int) -> Floats:  # noqa: ARG002
        """Return the rows of a matrix or a bias (G, ...) in the layout of this stepper."""
        return matrix

    def _prepare(self) -> None:
        self._products, self._biases = [], []
        for number, (weights, size) in enumerate(zip(self._layers, self._sizes, strict=True)):
            matrices = [weights["weight_hh"]] if number == 0 else [weights["weight_ih"], weights["weight_hh"]]
            self._products.append(self._keep_matrix(padded(self._gates(np.concatenate(matrices, axis=1), size))))
            self._biases.append(padded(self._gates((weights["bias_ih"] + weights["bias_hh"])[:, None], size)))

    def _input_matrix(self) -> tuple[Floats, Floats]:
        return padded(self._gates(self._layers[0]["weight_ih"], self._sizes[0])), self._biases[0][:, 0]

    def _make_buffers(self, num_streams: int) -> None:
        self._gate_buffers = [np.empty((len(bias), num_streams), np.float32) for bias in self._biases]
        self._views = [self._cut(gates, size) for gates, size in zip(self._gate_buffers, self._sizes, strict=True)]

    def _cut(self, gates: Floats, size: int) -> Views:
        """Return the views of the gate buffer that `_combine` uses."""
        return (gates[:size],)

    def _combine(self, layer: int, hidden: Floats) -> None:
        """Compute the new state of a layer from its gates and state, in place."""
        raise NotImplementedError

    def _step_layers(self, projected_GB: Floats) -> None:
        added = projected_GB
        for number, multiply in enumerate(self._products):
            gates = self._gate_buffers[number]
            multiply(self._layer_inputs[number], gates)
            np.add(gates, added if number == 0 else self._biases[number], gates)
            self._combine(number, self._layer_hidden[number])


class LstmStepper(AdditiveStepper):
    """Gates in the order i, f, o, g; the rows of the first three are halved, since s(x) = tanh(x / 2) / 2 + 1 / 2."""

    def _gates(self, matrix: Floats, size: int) -> Floats:
        input_gate, forget, new, out = (matrix[number * size : (number + 1) * size] for number in range(4))
        return np.concatenate((0.5 * input_gate, 0.5 * forget, 0.5 * out, new)).astype(np.float32)

    def _cut(self, gates: Floats, size: int) -> Views:
        parts = [gates[number * size : (number + 1) * size] for number in range(4)]
        sigmoids = gates[: 3 * size]
        halves = np.full_like(sigmoids if gates.shape[1] < MANY_STREAMS else sigmoids[:0], 0.5)
        return (gates[: 4 * size], sigmoids, halves, *parts)

    def _combine(self, layer: int, hidden: Floats) -> None:
        gates, sigmoids, halves, input_gate, forget, out, new = self._views[layer]
        cell_state = self._cell_states[layer][0]
        if hidden.shape[1] < MANY_STREAMS:
            np.tanh(gates, gates)
            np.multiply(sigmoids, halves, sigmoids)
            np.add(sigmoids, halves, sigmoids)
        else:
            _sigmoids_of_halves(sigmoids)
            np.tanh(new, new)
        np.multiply(cell_state, forget, cell_state)
        np.multiply(new, input_gate, new)
        np.add(cell_state, new, cell_state)
        np.tanh(cell_state, new)
        np.multiply(out, new, hidden)


class RnnStepper(AdditiveStepper):
    """h' = tanh(W x + U h + b), or relu instead of tanh."""

    def _combine(self, layer: int, hidden: Floats) -> None:
        (new,) = self._views[layer]
        if self._shape.nonlinearity == "relu":
            np.maximum(new, ZERO, out=hidden)
        else:
            np.tanh(new, out=hidden)


class GruStepper(_FusedStepper):
    """Gates r, z, n; the rows of the first two are halved. The projections are separate: in n, r scales only one of them."""

    def _gates(self, matrix: Floats, size: int) -> Floats:
        return np.concatenate((0.5 * matrix[: 2 * size], matrix[2 * size :])).astype(np.float32)

    def _prepare(self) -> None:
        self._products, self._biases = [], []
        for weights, size in zip(self._layers, self._sizes, strict=True):
            projections = [(weights[f"weight_{kind}"], weights[f"bias_{kind}"][:, None]) for kind in ("ih", "hh")]
            self._products.append([self._keep_matrix(padded(self._gates(matrix, size))) for matrix, _ in projections])
            self._biases.append([padded(self._gates(bias, size)) for _, bias in projections])

    def _input_matrix(self) -> tuple[Floats, Floats]:
        return padded(self._gates(self._layers[0]["weight_ih"], self._sizes[0])), self._biases[0][0][:, 0]

    def _make_buffers(self, num_streams: int) -> None:
        rows = [len(projections[0]) for projections in self._biases]
        self._buffers = [[np.empty((size, num_streams), np.float32) for _ in range(2)] for size in rows]

    def _step_layers(self, projected_GB: Floats) -> None:
        for number, (buffers, size) in enumerate(zip(self._buffers, self._sizes, strict=True)):
            projected, recurrent = buffers
            hidden = self._layer_hidden[number]
            if number == 0:
                projected[:] = projected_GB
            else:
                self._products[number][0](self._layer_hidden[number - 1], projected)
                np.add(projected, self._biases[number][0], out=projected)
            self._products[number][1](hidden, recurrent)
            np.add(recurrent, self._biases[number][1], out=recurrent)
            _gru(projected, recurrent, hidden, size)


def _gru(projected: Floats, recurrent: Floats, hidden: Floats, size: int) -> None:
    gates, new = projected[: 2 * size], projected[2 * size : 3 * size]
    np.add(gates, recurrent[: 2 * size], out=gates)
    if hidden.shape[1] < MANY_STREAMS:
        np.tanh(gates, out=gates)
        np.multiply(gates, HALF, out=gates)
        np.add(gates, HALF, out=gates)
    else:
        _sigmoids_of_halves(gates)
    scratch = recurrent[2 * size : 3 * size]
    np.multiply(gates[:size], scratch, out=scratch)
    np.add(new, scratch, out=new)
    np.tanh(new, out=new)
    np.subtract(hidden, new, out=hidden)
    np.multiply(hidden, gates[size:], out=hidden)
    np.add(hidden, new, out=hidden)


def _sigmoids_of_halves(gates: Floats) -> None:
    """Replace each x by s(2 x) = 1 / (1 + exp(-2 x)) in place: NumPy's exp takes two thirds of the time of its tanh."""
    with np.errstate(over="ignore"):  # the sigmoid is 0 there
        np.multiply(gates, MINUS_TWO, gates)
        np.exp(gates, gates)
        np.add(gates, ONE, gates)
        np.divide(ONE, gates, gates)


MINUS_TWO, ZERO, HALF, ONE = np.float32(-2), np.float32(0), np.float32(0.5), np.float32(1)
FUSED: dict[str, type[AdditiveStepper] | type[GruStepper]] = {
    "lstm": LstmStepper,
    "gru": GruStepper,
    "rnn": RnnStepper,
}
