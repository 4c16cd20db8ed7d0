"""The recurrent layers of a language model trained by charnn, as equations.

Each cell is a function of the configuration, the layer's parameters, the input of a step (B, P) and the state, arrays (B, H)
of which the first is the output. Gate order is that of torch: LSTM i, f, g, o; GRU r, z, n.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .configuration_charnn import CharnnConfig

State = tuple[Tensor, ...]
Weights = dict[str, Tensor]


def _recurrent(weights: Weights, hidden_BH: Tensor) -> Tensor:
    return functional.linear(hidden_BH, weights["weight_hh"], weights["bias_hh"])


def _lstm_state(gates_BG: Tensor, cell_state: Tensor) -> State:
    """c' = s(f) * c + s(i) * tanh(g), h' = s(o) * tanh(c')."""
    input_gate, forget_gate, candidate, output_gate = gates_BG.chunk(4, -1)
    cell_state = forget_gate.sigmoid() * cell_state + input_gate.sigmoid() * candidate.tanh()
    return output_gate.sigmoid() * cell_state.tanh(), cell_state


def _lstm(config: CharnnConfig, weights: Weights, projected_BP: Tensor, state: State) -> State:  # noqa: ARG001
    """Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000)."""
    return _lstm_state(projected_BP + _recurrent(weights, state[0]), state[1])


def _gru(config: CharnnConfig, weights: Weights, projected_BP: Tensor, state: State) -> State:  # noqa: ARG001
    """Cho et al. (2014), with the reset gate after the product: h' = (1 - z) * n + z * h."""
    (hidden,) = state
    projected_r, projected_z, projected_n = projected_BP.chunk(3, -1)
    recurrent_r, recurrent_z, recurrent_n = _recurrent(weights, hidden).chunk(3, -1)
    reset, update = (projected_r + recurrent_r).sigmoid(), (projected_z + recurrent_z).sigmoid()
    new = (projected_n + reset * recurrent_n).tanh()
    return (new + update * (hidden - new),)


def _rnn(config: CharnnConfig, weights: Weights, projected_BP: Tensor, state: State) -> State:
    """Elman (1990)."""
    new = projected_BP + _recurrent(weights, state[0])
    return (new.relu() if config.nonlinearity == "relu" else new.tanh(),)


def _leaky(config: CharnnConfig, weights: Weights, projected_BP: Tensor, state: State) -> State:
    """Jaeger et al. (2007): h' = a * h + (1 - a) * n, a = s(leak)."""
    (new,) = _rnn(config, weights, projected_BP, state)
    return (new + weights["leak"].sigmoid() * (state[0] - new),)


def _mogrifier(config: CharnnConfig, weights: Weights, inputs_BI: Tensor, state: State) -> State:
    """Melis et al. (2020): input and previous output gate each other alternately."""
    inputs, hidden = inputs_BI, state[0]
    for number in range(1, config.mogrifier_rounds + 1):
        source = hidden if number % 2 else inputs
        if config.mogrifier_rank:
            source = functional.linear(source, weights[f"mogrify_{number}_down"])
        gate = 2 * functional.linear(source, weights[f"mogrify_{number}"], weights[f"mogrify_{number}_bias"]).sigmoid()
        inputs, hidden = (gate * inputs, hidden) if number % 2 else (inputs, gate * hidden)
    projected_BG = functional.linear(inputs, weights["weight_ih"], weights["bias_ih"])
    return _lstm_state(projected_BG + _recurrent(weights, hidden), state[1])


def _mlstm(config: CharnnConfig, weights: Weights, projected_BP: Tensor, state: State) -> State:  # noqa: ARG001
    """Krause et al. (2016): the gates see (W_mx x) * (W_mh h) in place of h."""
    size = state[0].shape[-1]
    factor = projected_BP[:, 4 * size :] * functional.linear(state[0], weights["weight_mh"])
    return _lstm_state(projected_BP[:, : 4 * size] + _recurrent(weights, factor), state[1])


def _depth_lstm(config: CharnnConfig, weights: Weights, projected_BP: Tensor, state: State) -> State:
    """Yao et al. (2015): an LSTM with a gate from the cell state of the layer below, the last block of the input."""
    if "weight_cd" not in weights:  # the first layer
        return _lstm(config, weights, projected_BP, state)
    hidden, cell_state = state
    size = hidden.shape[-1]
    gates_BG = projected_BP[:, : 4 * size] + _recurrent(weights, hidden)
    input_gate, forget_gate, candidate, output_gate = gates_BG.chunk(4, -1)
    below = projected_BP[:, 5 * size :]
    depth_gate = projected_BP[:, 4 * size : 5 * size] + weights["weight_cd"] * cell_state + weights["weight_ld"] * below
    cell_state = forget_gate.sigmoid() * cell_state + input_gate.sigmoid() * candidate.tanh()
    cell_state = cell_state + depth_gate.sigmoid() * below
    return output_gate.sigmoid() * cell_state.tanh(), cell_state


def _positive(x: Tensor) -> Tensor:
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


def _mingru(config: CharnnConfig, weights: Weights, projected_BP: Tensor, state: State) -> State:  # noqa: ARG001
    """Feng et al. (2024): h' = (1 - z) * h + z * g(n)."""
    update, candidate = projected_BP.chunk(2, -1)
    return ((-update).sigmoid() * state[0] + update.sigmoid() * _positive(candidate),)


def _minlstm(config: CharnnConfig, weights: Weights, projected_BP: Tensor, state: State) -> State:  # noqa: ARG001
    """Feng et al. (2024): h' = f / (f + i) * h + i / (f + i) * g(n)."""
    forget_gate, input_gate, candidate = projected_BP.chunk(3, -1)
    difference = functional.softplus(-input_gate) - functional.softplus(-forget_gate)
    return (difference.sigmoid() * state[0] + (-difference).sigmoid() * _positive(candidate),)


_CELLS = {
    "lstm": (_lstm, 4, 2),
    "gru": (_gru, 3, 1),
    "rnn": (_rnn, 1, 1),
    "leaky": (_leaky, 1, 1),
    "mogrifier": (_mogrifier, 4, 2),
    "mlstm": (_mlstm, 5, 2),
    "depth-lstm": (_depth_lstm, 4, 2),
    "mingru": (_mingru, 2, 1),
    "minlstm": (_minlstm, 3, 1),
}
"""Step, blocks of H rows in W_ih, and arrays in a state, of each cell."""
_FUSED = {"lstm": torch.lstm, "gru": torch.gru, "tanh": torch.rnn_tanh, "relu": torch.rnn_relu}


class CharnnLayer(nn.Module):
    """A recurrent layer, whose parameters are named as in charnn's own files.

    Args:
        index: the lowest is 0.
    """

    def __init__(self, config: CharnnConfig, index: int) -> None:
        super().__init__()
        self.config, self.index = config, index
        self._step, num_gates, self._num_inner = _CELLS[config.cell]
        self._num_gates = 5 if config.cell == "depth-lstm" and index else num_gates
        self.input_size, self.size = config.layer_sizes(index)
        self.num_states = self._num_inner + max(0, config.skip - 1)
        self.num_outputs = 2 if config.cell == "depth-lstm" and index < config.num_layers - 1 else 1
        for name, shape in self._shapes().items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        cell, size, rows = self.config.cell, self.size, self._num_gates * self.size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, self.input_size)}
        if cell != "mlstm":
            shapes["bias_ih"] = (rows,)
        if cell not in ("mingru", "minlstm"):
            recurrent_rows = 4 * size if cell in ("mlstm", "depth-lstm") else rows
            shapes |= {"weight_hh": (recurrent_rows, size), "bias_hh": (recurrent_rows,)}
        if cell == "mlstm":
            shapes["weight_mh"] = (size, size)
        if cell == "leaky":
            shapes["leak"] = (size,)
        if cell == "depth-lstm" and self.index:
            shapes |= {"weight_cd": (size,), "weight_ld": (size,)}
        if cell == "mogrifier":
            shapes |= self._mogrifier_shapes()
        if self.config.skip:
            shapes["weight_skip"] = (rows, size)
        if self.config.initial_state == "learned":
            shapes |= {f"initial_{number}": (size,) for number in range(self.num_states)}
        return shapes

    def _mogrifier_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        rank = self.config.mogrifier_rank
        for number in range(1, self.config.mogrifier_rounds + 1):
            gated, source = (self.input_size, self.size) if number % 2 else (self.size, self.input_size)
            if rank:
                shapes[f"mogrify_{number}_down"] = (rank, source)
            shapes |= {f"mogrify_{number}": (gated, rank or source), f"mogrify_{number}_bias": (gated,)}
        return shapes

    def _weights(self) -> Weights:
        return cast(Weights, dict(self.named_parameters()))

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first token, arrays (B, H)."""
        weights = self._weights()
        zero = weights["weight_ih"].new_zeros(batch_size, self.size)
        return tuple(weights.get(f"initial_{number}", zero).expand_as(zero) for number in range(self.num_states))

    def forward(self, inputs_TBI: Tensor, state: State, is_read_TB: Tensor | None) -> tuple[tuple[Tensor, ...], State]:
        """Read T tokens; those that are not read leave the state as it is.

        Returns:
            The arrays of the state after each token that the layer above takes in (T, B, H), and the last state.
        """
        weights = self._weights()
        if is_read_TB is None and not self.config.skip and self.config.cell in ("lstm", "gru", "rnn"):
            return self._run_fused(weights, inputs_TBI, state)
        outputs_by_time = []
        for time, projected_BP in enumerate(self._projected(weights, inputs_TBI)):
            new_state = self._advance(weights, projected_BP, state)
            if is_read_TB is not None:
                is_read = is_read_TB[time, :, None]
                new_state = tuple(torch.where(is_read, new, old) for new, old in zip(new_state, state, strict=True))
            state = new_state
            outputs_by_time.append(state[: self.num_outputs])
        return tuple(torch.stack(parts) for parts in zip(*outputs_by_time, strict=True)), state

    def _run_fused(self, weights: Weights, inputs_TBI: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        """Do the same with torch's own layer."""
        fused = _FUSED[self.config.nonlinearity if self.config.cell == "rnn" else self.config.cell]
        parts = tuple(part[None].contiguous() for part in state)
        flat = [weights[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        hidden = parts if len(parts) == 2 else parts[0]
        outputs, *last = fused(inputs_TBI, hidden, flat, True, 1, 0.0, self.training, False, False)  # type: ignore[operator]
        return (outputs,), tuple(part[0] for part in last)

    def _projected(self, weights: Weights, inputs_TBI: Tensor) -> Tensor:
        """Return what the steps take in (T, B, P)."""
        if self.config.cell == "mogrifier":
            return inputs_TBI
        outputs, below = inputs_TBI[..., : self.input_size], inputs_TBI[..., self.input_size :]
        projected = functional.linear(outputs, weights["weight_ih"], weights.get("bias_ih"))
        return torch.cat((projected, below), -1) if below.shape[-1] else projected

    def _advance(self, weights: Weights, projected_BP: Tensor, state: State) -> State:
        """Return the state after a token.

        With a skip connection (Lin et al. 1996), S h from `skip` steps back is added to the input, and the outputs since then
        are part of the state.
        """
        if not self.config.skip:
            return self._step(self.config, weights, projected_BP, state)
        inner, earlier = state[: self._num_inner], state[self._num_inner :]
        skipped = functional.linear(earlier[-1], weights["weight_skip"])
        projected_BP = projected_BP + functional.pad(skipped, (0, projected_BP.shape[-1] - skipped.shape[-1]))
        return (*self._step(self.config, weights, projected_BP, inner), inner[0], *earlier[:-1])
