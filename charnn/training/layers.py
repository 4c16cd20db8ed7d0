"""Recurrent layers in torch: fused where torch has a fused layer, the cell's equations under autograd where it has none."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from charnn.cells import CELLS, CellWeights, project, step

LayerState = tuple[Tensor, ...]
"""Arrays (B, H), the layer's last output first."""

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_FUSED: dict[str, Callable[[int, int], nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class RecurrentLayer(nn.Module):
    """One recurrent layer over a run of tokens."""

    def weight(self, name: str) -> nn.Parameter:
        """Return one of `PARAMETERS`."""
        raise NotImplementedError

    def forward(self, inputs_TBI: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return the outputs (T, B, H) and the state after the last token."""
        raise NotImplementedError


class FusedLayer(RecurrentLayer):
    """torch.nn.LSTM, GRU or RNN, which run all time steps in one call."""

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.recurrence = _FUSED[cell](input_size, hidden_size)

    def weight(self, name: str) -> nn.Parameter:
        """Return one of `PARAMETERS`."""
        return cast(nn.Parameter, getattr(self.recurrence, f"{name}_l0"))

    def forward(self, inputs_TBI: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return the outputs (T, B, H) and the state after the last token."""
        deep = tuple(part.unsqueeze(0).to(inputs_TBI.dtype) for part in state)
        outputs_TBH, last = self.recurrence(inputs_TBI, deep if len(deep) > 1 else deep[0])
        parts = last if isinstance(last, tuple) else (last,)
        return outputs_TBH, tuple(part.squeeze(0) for part in parts)


class EquationLayer(RecurrentLayer):
    """A cell's own equations, token by token: the oracle of the fused layers, and the way of cells that have none."""

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = CELLS[cell]
        rows = self.cell.num_gates * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))

    def weight(self, name: str) -> nn.Parameter:
        """Return one of `PARAMETERS`."""
        return cast(nn.Parameter, getattr(self, name))

    def forward(self, inputs_TBI: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return the outputs (T, B, H) and the state after the last token."""
        weights = CellWeights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        outputs = []
        for projected_BG in project(weights, inputs_TBI):
            state = step(self.cell, weights, projected_BG, state, torch)
            outputs.append(state[0])
        return torch.stack(outputs), state


def make_layer(cell: str, input_size: int, hidden_size: int) -> RecurrentLayer:
    """Return the fastest layer there is for a cell, with fresh weights.

    Recurrent matrices are orthogonal in each gate block (Saxe et al. 2014), input matrices uniform after Glorot and Bengio
    (2010), biases zero but for the LSTM's forget gate, which begins open at 1 (Jozefowicz et al. 2015).
    """
    layer = (FusedLayer if cell in _FUSED else EquationLayer)(cell, input_size, hidden_size)
    gates = CELLS[cell].num_gates
    with torch.no_grad():
        for block_ih, block_hh in zip(
            layer.weight("weight_ih").chunk(gates),
            layer.weight("weight_hh").chunk(gates),
            strict=True,
        ):
            nn.init.xavier_uniform_(block_ih)
            nn.init.orthogonal_(block_hh)
        layer.weight("bias_ih").zero_()
        layer.weight("bias_hh").zero_()
        if cell == "lstm":
            layer.weight("bias_ih")[hidden_size : 2 * hidden_size] = 1.0
    return layer
