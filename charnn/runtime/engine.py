"""The decode loop on NumPy: a network's weights, laid out for reading one token after another."""

from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.cells import CELLS, CellWeights, project, step
from charnn.config import Architecture
from charnn.model_directory import Model, Tensors, cell_weights

Floats = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.integer[Any]]
LayerState = tuple[Floats, ...]
EngineState = tuple[LayerState, ...]
"""One state a layer, each of arrays (B, H), the lowest layer first."""

LARGEST_TABLE = 1 << 25
"""The most numbers in the table that stands for the first layer's input projection (128 MiB)."""


class Engine:
    """A network that reads tokens of B streams and gives the logits of the next.

    The first layer's input projection is a table with a row for each token. Where a cell needs only the sum of its two
    projections, a later layer's step is one product over [W_ih|W_hh].
    """

    def __init__(self, architecture: Architecture, weights: Tensors) -> None:
        shape = architecture
        self.architecture = architecture
        self.cell = CELLS[shape.cell]
        self._layers = [cell_weights(weights, layer) for layer in range(shape.num_layers)]
        self._embedding_VE = weights["embedding.weight"]
        rows = self.cell.num_gates * shape.hidden_size
        small = shape.vocab_size * rows <= LARGEST_TABLE
        self._table_VG = project(self._layers[0], self._embedding_VE) if small else None
        self._joined = [_join(layer) for layer in self._layers[1:]] if self.cell.additive else []
        self._output_VH = weights["embedding.weight" if shape.tie_weights else "output.weight"]
        self._output_bias_V = weights["output.bias"]

    @classmethod
    def of(cls, model: Model) -> "Engine":
        """Return the engine of a model read from disk."""
        return cls(model.architecture, model.weights)

    def initial_state(self, num_streams: int = 1) -> EngineState:
        """Return the empty memory of B streams."""
        zeros = np.zeros((num_streams, self.architecture.hidden_size), dtype=np.float32)
        return ((zeros,) * self.cell.num_states,) * self.architecture.num_layers

    def step(self, ids_B: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """Read one token of each stream.

        Returns:
            The logits (B, V) of the token that follows, and the state.
        """
        first = step(self.cell, self._layers[0], self._project_ids(ids_B), state[0], np)
        new_state = [first]
        for number, layer_state in enumerate(state[1:]):
            new_state.append(self._later_step(number, new_state[-1][0], layer_state))
        return self.logits(new_state[-1][0]), tuple(new_state)

    def _later_step(self, number: int, inputs_BI: Floats, state: LayerState) -> LayerState:
        if self._joined:
            weight, bias = self._joined[number]
            gates_BG = np.concatenate((inputs_BI, state[0]), axis=1) @ weight.T + bias
            return self.cell.combine(gates_BG, 0.0, state, np)
        weights = self._layers[number + 1]
        return step(self.cell, weights, project(weights, inputs_BI), state, np)

    def forward(self, ids_TB: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """Read T tokens of each stream, a layer at a time, so that each layer's input projection is one product.

        Returns:
            The top layer's outputs (T, B, H), which `logits` turns into logits, and the state after the last token.
        """
        outputs_TBH, first = self._run_layer(0, self._project_ids(ids_TB), state[0])
        new_state = [first]
        for number, weights in enumerate(self._layers[1:], start=1):
            outputs_TBH, last = self._run_layer(number, project(weights, outputs_TBH), state[number])
            new_state.append(last)
        return outputs_TBH, tuple(new_state)

    def _run_layer(self, number: int, projected_TBG: Floats, state: LayerState) -> tuple[Floats, LayerState]:
        outputs_TBH = np.empty((*projected_TBG.shape[:2], self.architecture.hidden_size), dtype=np.float32)
        for time, projected_BG in enumerate(projected_TBG):
            state = step(self.cell, self._layers[number], projected_BG, state, np)
            outputs_TBH[time] = state[0]
        return outputs_TBH, state

    def logits(self, outputs: Floats) -> Floats:
        """Return the logits (..., V) for the top layer's outputs (..., H)."""
        logits: Floats = outputs @ self._output_VH.T + self._output_bias_V
        return logits

    def _project_ids(self, ids: IdArray) -> Floats:
        table = self._table_VG
        projected: Floats = project(self._layers[0], self._embedding_VE[ids]) if table is None else table[ids]
        return projected


def _join(weights: CellWeights) -> tuple[Floats, Floats]:
    return np.concatenate((weights.weight_ih, weights.weight_hh), axis=1), weights.bias_ih + weights.bias_hh


def log_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Return log probabilities (..., V) in nats, in double precision: their exponentials sum to 1 within 1e-12."""
    shifted: npt.NDArray[np.float64] = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def target_log_probs(logits: Floats, targets: IdArray) -> npt.NDArray[np.float64]:
    """Return log P(target) in nats (...) for logits (..., V): the sum in double precision, the rest as it comes."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1, dtype=np.float64))
    chosen = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    log_probs: npt.NDArray[np.float64] = chosen.astype(np.float64) - log_sum
    return log_probs
