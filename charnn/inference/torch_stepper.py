"""One token after another on torch tensors, for a GPU.

The first layer's vectors are multiplied like all others, so each layer is one product over [W_ih|W_hh] (two for a GRU), then
the cell's own equations. Weights of bf16 multiply activations of bf16; all else is in single precision.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from charnn.cells import cell_of
from charnn.cells.attention import attend
from charnn.cells.parameters import layer_weights
from charnn.inference.engine import Engine, EngineState
from charnn.inference.input_projection import Floats, IdArray
from charnn.inference.numpy_steppers import logit_bound
from charnn.inference.stepper import Stepper


class TorchStepper:
    """See `charnn.inference.stepper.Stepper`; for networks that have a fused stepper (see `fused`).

    Args:
        state: the initial state of B streams, or one for all of them.
        device: a torch device.
        dtype: that of the matrices, float32 or bfloat16.
    """

    def __init__(
        self, engine: Engine, state: EngineState, num_streams: int = 1, *, device: str, dtype: torch.dtype
    ) -> None:
        shape = engine.architecture
        self._shape, self._device, self._dtype = shape, device, dtype
        self._cells = [cell_of(shape, layer) for layer in range(shape.num_layers)]
        self.largest_logit = logit_bound(engine)
        self._vectors = [self._tensor(table) for table in engine.embeddings]
        self._input_tables = engine.input_tables
        self._matrices: list[list[Tensor]] = []
        self._biases: list[list[Tensor]] = []
        for number, cell in enumerate(self._cells):
            layer = layer_weights(engine.weights, number)
            matrices, biases = [layer["weight_ih"], layer["weight_hh"]], [layer["bias_ih"], layer["bias_hh"]]
            if cell.is_additive:
                matrices, biases = [np.concatenate(matrices, axis=1)], [biases[0] + biases[1]]
            self._matrices.append([self._tensor(matrix).to(dtype) for matrix in matrices])
            self._biases.append([self._tensor(bias) for bias in biases])
        self._attention = {name: self._tensor(weight) for name, weight in engine.attention.items()}
        self._output = self._tensor(engine.output_VH).to(dtype)
        self._output_bias = self._tensor(engine.output_bias_V)
        self._begin(state, num_streams)

    def _tensor(self, array: Any) -> Tensor:
        return torch.tensor(np.asarray(array), dtype=torch.float32, device=self._device)

    @property
    def _num_parts(self) -> int:
        """Parts of the state that are tensors: of each layer, and of attention."""
        return len(self._cells) + bool(self._attention)

    def _begin(self, state: EngineState, num_streams: int) -> None:
        repeats = num_streams if len(state[0][0]) == 1 else 1
        layers = state[: self._num_parts]
        self._state = [[self._tensor(part).repeat_interleave(repeats, 0) for part in layer] for layer in layers]
        history = state[-1][0] if self._shape.history_size else np.zeros((len(state[0][0]), 0), dtype=np.int64)
        self._history_BM: IdArray = np.repeat(history, repeats, axis=0)

    @torch.inference_mode()
    def step(self, ids_B: IdArray) -> Floats:
        """See `Stepper`."""
        rows, self._history_BM = self._input_tables.rows(ids_B[None], self._history_BM, np)
        positions = [torch.from_numpy(np.ascontiguousarray(row[0])).to(self._device) for row in rows]
        looked_up = [table[position] for table, position in zip(self._vectors, positions, strict=True)]
        inputs = torch.stack(looked_up).sum(dim=0)
        for number, cell in enumerate(self._cells):
            state, matrices, biases = self._state[number], self._matrices[number], self._biases[number]
            assert cell.combine is not None
            if cell.is_additive:
                gates = self._product(torch.cat((inputs, state[0]), dim=1), matrices[0]) + biases[0]
                self._state[number] = list(cell.combine(gates, 0.0, state, torch))
            else:
                into, back = self._product(inputs, matrices[0]), self._product(state[0], matrices[1])
                self._state[number] = list(cell.combine(into + biases[0], back + biases[1], state, torch))
            inputs = self._state[number][0]
        if self._attention:
            attended = attend(self._attention, inputs[None], self._state[-1], torch)
            inputs, self._state[-1] = attended.outputs_TBH[0], list(attended.state)
        logits: Floats = (self._product(inputs, self._output) + self._output_bias).cpu().numpy()
        return logits

    def _product(self, rows: Tensor, matrix: Tensor) -> Tensor:
        return linear(rows.to(self._dtype), matrix).float()

    def read(self, ids: IdArray) -> Floats:
        """See `Stepper`."""
        for position in range(len(ids) - 1):
            self.step(ids[position : position + 1])
        return self.step(ids[-1:])

    replay = read

    def keep(self, rows: Sequence[int]) -> None:
        """See `Stepper`."""
        kept = list(rows)
        self._history_BM = self._history_BM[kept]
        self._state = [[part[kept] for part in layer] for layer in self._state]

    def state(self) -> EngineState:
        """See `Stepper`."""
        layers = tuple(tuple(part.cpu().numpy() for part in layer) for layer in self._state)
        return (*layers, (self._history_BM.copy(),)) if self._shape.history_size else layers

    def fork(self, state: EngineState, num_streams: int = 1) -> Stepper:
        """See `Stepper`."""
        other = copy.copy(self)
        other._begin(state, num_streams)
        return other
