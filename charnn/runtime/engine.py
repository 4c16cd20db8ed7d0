"""The decode loop on NumPy: a network's weights, laid out for reading one token after another."""

from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.cells import CELLS, CellWeights, project, step
from charnn.cells.ngram_embedding import ngram_rows
from charnn.config import Architecture
from charnn.model_directory import Model, cell_weights
from charnn.pairs import Tensors

Floats = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.integer[Any]]
LayerState = tuple[npt.NDArray[Any], ...]
EngineState = tuple[LayerState, ...]
"""One state a layer, each of arrays (B, H), the lowest layer first; then the last tokens, where n-grams are embedded."""

LARGEST_TABLE = 1 << 26
"""The most numbers in the tables that stand for the first layer's input projection (256 MiB, of which only used rows are
touched)."""


class ProjectedRows:
    """An embedding table (R, E) times W_ih (E, G), each row computed when it is first asked for."""

    def __init__(self, table_RE: Floats, weight_EG: Floats) -> None:
        self._table_RE, self._weight_EG = table_RE, weight_EG
        self._projected_RG = np.empty((len(table_RE), weight_EG.shape[1]), dtype=np.float32)
        self._is_known_R = np.zeros(len(table_RE), dtype=bool)

    def __getitem__(self, rows: IdArray) -> Floats:
        known = self._is_known_R[rows]
        if not known.all():
            missing = np.unique(rows[~known])
            self._projected_RG[missing] = self._table_RE[missing] @ self._weight_EG
            self._is_known_R[missing] = True
        projected: Floats = self._projected_RG[rows]
        return projected


class Engine:
    """A network that reads tokens of B streams and gives the logits of the next.

    The first layer's input projection is a table with a row for each token, and one with a row for each n-gram of each
    order that is embedded (see `ProjectedRows`). Where a cell needs only the sum of its two
    projections, a later layer's step is one product over [W_ih|W_hh].
    """

    def __init__(self, architecture: Architecture, weights: Tensors) -> None:
        shape = architecture
        self.architecture = architecture
        self.cell = CELLS[shape.cell]
        self._layers = [cell_weights(weights, layer) for layer in range(shape.num_layers)]
        orders = range(2, shape.embedding_order + 1)
        self._embeddings = [weights["embedding.weight"], *(weights[f"embedding.{order}.weight"] for order in orders)]
        rows = sum(len(table) for table in self._embeddings) * self.cell.num_gates * shape.hidden_size
        first = self._layers[0]
        self._tables = (
            [ProjectedRows(table, first.weight_ih.T) for table in self._embeddings] if rows <= LARGEST_TABLE else None
        )
        self._joined = [_join(layer) for layer in self._layers[1:]] if self.cell.additive else []
        self._output_VH = weights["embedding.weight" if shape.tie_weights else "output.weight"]
        self._output_bias_V = weights["output.bias"]

    @classmethod
    def of(cls, model: Model) -> "Engine":
        """Return the engine of a model read from disk."""
        return cls(model.architecture, model.weights)

    def initial_state(self, num_streams: int = 1) -> EngineState:
        """Return the empty memory of B streams."""
        shape = self.architecture
        zeros = np.zeros((num_streams, shape.hidden_size), dtype=np.float32)
        layers = ((zeros,) * self.cell.num_states,) * shape.num_layers
        no_tokens = np.zeros((num_streams, shape.embedding_order - 1), dtype=np.int64)
        return layers if shape.embedding_order == 1 else (*layers, (no_tokens,))

    def step(self, ids_B: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """Read one token of each stream.

        Returns:
            The logits (B, V) of the token that follows, and the state.
        """
        projected_TBG, history = self._project_ids(ids_B[None], state)
        new_state = [step(self.cell, self._layers[0], projected_TBG[0], state[0], np)]
        for number, layer_state in enumerate(state[1 : len(self._layers)]):
            new_state.append(self._later_step(number, new_state[-1][0], layer_state))
        return self.logits(new_state[-1][0]), (*new_state, *history)

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
        projected_TBG, history = self._project_ids(ids_TB, state)
        outputs_TBH, first = self._run_layer(0, projected_TBG, state[0])
        new_state = [first]
        for number, weights in enumerate(self._layers[1:], start=1):
            outputs_TBH, last = self._run_layer(number, project(weights, outputs_TBH), state[number])
            new_state.append(last)
        return outputs_TBH, (*new_state, *history)

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

    def _project_ids(self, ids_TB: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """Return the first layer's input projection (T, B, G), and the last tokens as the end of a state."""
        history: EngineState = ()
        rows: list[IdArray] = [ids_TB]
        if len(self._embeddings) > 1:
            ngrams, last_tokens = ngram_rows(ids_TB, state[-1][0], self.architecture.vocab_size, np)
            rows, history = [ids_TB, *ngrams], ((last_tokens,),)
        if self._tables is None:
            vectors_TBE = sum(table[place] for table, place in zip(self._embeddings, rows, strict=True))
            return project(self._layers[0], vectors_TBE), history
        total: Floats = self._tables[0][rows[0]] + self._layers[0].bias_ih
        for table, place in zip(self._tables[1:], rows[1:], strict=True):
            total += table[place]
        return total, history


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
