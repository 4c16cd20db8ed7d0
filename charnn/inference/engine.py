"""The decode loop on NumPy: a network's weights, laid out for reading one token after another."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charnn.cells import cell_of
from charnn.cells.attention import Attended, attend, attention_weights, memory_shapes
from charnn.cells.ngram_embedding import InputTables, summed
from charnn.cells.parameters import layer_weights
from charnn.config import Architecture
from charnn.inference.input_projection import Floats, IdArray, ProjectedTables, tabulated
from charnn.storage.model_directory import Model
from charnn.storage.tensor_file import Tensors

__all__ = ["Engine", "EngineState", "Floats", "IdArray", "LayerState", "engines_of", "log_softmax", "target_log_probs"]

LayerState = tuple[npt.NDArray[Any], ...]
EngineState = tuple[LayerState, ...]
"""One state a layer, each of arrays (B, H), the lowest layer first; with attention, then its memory (see
`charnn.cells.attention`); then the last tokens, where n-grams are embedded."""


class Engine:
    """A network that reads tokens of B streams and gives the logits of the next.

    The first layer's input projection is a table with a row for each token, and one with a row for each n-gram of each
    order that is embedded (see `ProjectedTables`), unless the cell wants the input itself. To go from token to token quickly,
    see `stepper`.

    Example:
        >>> engine = charnn.api.Engine.of(model.models[0])
        >>> logits, state = engine.step(np.array([5]), engine.initial_state())
    """

    xp: Any = np
    """The module of array functions (see `charnn.cells`)."""

    def __init__(self, architecture: Architecture, weights: Tensors) -> None:
        shape = architecture
        self.architecture = architecture
        self._cells = [cell_of(shape, layer) for layer in range(shape.num_layers)]
        self._layers = [layer_weights(weights, layer) for layer in range(shape.num_layers)]
        self.attention = attention_weights(weights)
        self.weights = weights
        self.input_tables = InputTables.of(shape, np.array)
        self.embeddings = self._tables_of_vectors(weights)
        self._tables = self._tables_of_projections()
        self.output_VH = weights["embedding.weight" if shape.tie_weights else "output.weight"]
        self.output_bias_V = weights["output.bias"]

    def _tables_of_vectors(self, weights: Tensors) -> list[Floats]:
        shape = self.architecture
        if shape.inputs == "one-hot":
            return [np.eye(shape.vocab_size, dtype=np.float32)]
        names = ["embedding.weight", *(f"embedding.{order}.weight" for order in range(2, shape.embedding_order + 1))]
        return [weights[name] for name in [*names, *(["embedding.word.weight"] if shape.word_rows else [])]]

    def _tables_of_projections(self) -> ProjectedTables | None:
        """Return what the first layer makes of each vector, or None where it takes vectors, or there are too many."""
        weight_ih = self._layers[0]["weight_ih"]
        if not self._cells[0].projects:
            return None
        return tabulated(self.embeddings, weight_ih, self._layers[0].get("bias_ih"))

    @classmethod
    def of(cls, model: Model) -> Self:
        """Return the engine of a model read from disk."""
        return cls(model.architecture, model.weights)

    @property
    def is_backward(self) -> bool:
        """Whether texts are to be read from right to left."""
        return self.architecture.direction == "backward"

    def initial_state(self, num_streams: int = 1) -> EngineState:
        """Return the initial state of B streams."""
        shape = self.architecture
        layers: EngineState = tuple(
            tuple(self._initial_part(layer, number, num_streams) for number in range(cell.num_states))
            for layer, cell in enumerate(self._cells)
        )
        if shape.attention_window:
            layers = (*layers, tuple(self._zeros(size) for size in memory_shapes(shape, num_streams)))
        nothing = np.zeros((num_streams, shape.history_size), dtype=np.int64)
        return (*layers, (nothing,)) if shape.history_size else layers

    def _initial_part(self, layer: int, number: int, num_streams: int) -> Floats:
        size = (num_streams, self.architecture.layer_sizes(layer)[1])
        learned = self._layers[layer].get(f"initial_{number}")
        return self._zeros(size) if learned is None else np.broadcast_to(learned, size)

    def _zeros(self, size: tuple[int, ...]) -> Floats:
        return np.zeros(size, dtype=np.float32)

    def step(self, ids_B: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """Read one token of each stream.

        Returns:
            The logits (B, V) of the token that follows, and the state.
        """
        projected_TBP, history = self._project_ids(ids_B[None], state)
        projected_BP, inputs_BI = projected_TBP[0], None
        new_state = []
        for number, (cell, weights) in enumerate(zip(self._cells, self._layers, strict=True)):
            if inputs_BI is not None:
                projected_BP = cell.project(weights, inputs_BI, self.xp)
            new_state.append(cell.step(weights, projected_BP, state[number], self.xp))
            inputs_BI = self._passed_up(number, new_state[-1], inputs_BI)
        assert inputs_BI is not None
        outputs_1BH, memory = self._attend(inputs_BI[None], state)
        return self.logits(outputs_1BH[0]), (*new_state, *memory, *history)

    def _attend(self, outputs_TBH: Floats, state: EngineState) -> tuple[Floats, EngineState]:
        """Return the top layer's outputs with what they attend to, and the memory as a part of a state."""
        if not self.attention:
            return outputs_TBH, ()
        attended = self._attended(outputs_TBH, state[len(self._cells)])
        return attended.outputs_TBH, (attended.state,)

    def _attended(self, outputs_TBH: Floats, memory: LayerState) -> Attended:
        return attend(self.attention, outputs_TBH, memory, self.xp)

    def _passed_up(self, number: int, parts: Sequence[Floats], inputs: Floats | None) -> Floats:
        """Return what a layer hands to the one above (..., O), its own input added to its output if so wished."""
        output = parts[0]
        if self.architecture.residual and inputs is not None:
            output = output + inputs[..., : output.shape[-1]]
        others = parts[1 : self._cells[number].num_outputs]
        return self.xp.concatenate((output, *others), -1) if others else output

    def forward(self, ids_TB: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """Read T tokens of each stream, a layer at a time, so that each layer's input projection is one product.

        Returns:
            The top layer's outputs (T, B, H), with what they attend to, which `logits` turns into logits, and the state after
            the last token.
        """
        projected_TBP, history = self._project_ids(ids_TB, state)
        values_TBI, new_state = None, []
        for number, (cell, weights) in enumerate(zip(self._cells, self._layers, strict=True)):
            if values_TBI is not None:
                projected_TBP = cell.project(weights, values_TBI, self.xp)
            outputs, last = self._run_layer(number, projected_TBP, state[number])
            values_TBI = self._passed_up(number, outputs, values_TBI)
            new_state.append(last)
        assert values_TBI is not None
        outputs_TBH, memory = self._attend(values_TBI, state)
        return outputs_TBH, (*new_state, *memory, *history)

    def _run_layer(self, number: int, projected_TBP: Floats, state: LayerState) -> tuple[list[Floats], LayerState]:
        """Return those arrays of each state (T, B, H) that the layer above takes in, and the last state."""
        cell, weights = self._cells[number], self._layers[number]
        size = (*projected_TBP.shape[:2], self.architecture.layer_sizes(number)[1])
        outputs = [self._empty(size) for _ in range(cell.num_outputs)]
        if cell.coefficients is not None:
            kept_TBH, new_TBH = cell.coefficients(projected_TBP, self.xp)
            for time in range(len(projected_TBP)):
                state = (kept_TBH[time] * state[0] + new_TBH[time],)
                outputs[0][time] = state[0]
            return outputs, state
        for time, projected_BP in enumerate(projected_TBP):
            state = cell.step(weights, projected_BP, state, self.xp)
            for output, part in zip(outputs, state, strict=False):
                output[time] = part
        return outputs, state

    def _empty(self, size: tuple[int, ...]) -> Floats:
        return np.empty(size, dtype=np.float32)

    def logits(self, outputs: Floats) -> Floats:
        """Return the logits (..., V) for the top layer's outputs (..., H)."""
        logits: Floats = outputs @ self.output_VH.T + self.output_bias_V
        return logits

    def _looked_up(self, table: Floats, rows: IdArray) -> Floats:
        return np.asarray(table[rows])

    def _project_ids(self, ids_TB: IdArray, state: EngineState) -> tuple[Floats, EngineState]:
        """Return what the first layer's steps take in (T, B, P), and the last tokens as the end of a state."""
        rows, history = self.input_tables.state_rows(ids_TB, state, np)
        if self._tables is not None:
            return self._tables.look_up(rows), history
        vectors_TBE = summed(self._looked_up(*table_rows) for table_rows in zip(self.embeddings, rows, strict=True))
        return self._cells[0].project(self._layers[0], vectors_TBE, self.xp), history


def engines_of(models: Sequence[Model]) -> dict[str, Engine]:
    """Return the engines of models by their direction.

    Example:
        >>> charnn.api.engines_of(model.models)["forward"].architecture.cell
    """
    return {model.architecture.direction: Engine.of(model) for model in models}


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
    target_logits = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    log_probs: npt.NDArray[np.float64] = target_logits.astype(np.float64) - log_sum
    return log_probs
