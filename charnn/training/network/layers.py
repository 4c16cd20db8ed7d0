"""Recurrent layers in torch: fused layers, or for other cells their equations under autograd."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from charnn.cells import RECURRENT_MASK, cell_of, layer_shapes
from charnn.config import Architecture
from charnn.training.network.dropout import RegularizationRates, keep_mask
from charnn.training.network.scan import linear_recurrence

LayerState = tuple[Tensor, ...]
"""Tensors (B, H); the first is the last output of the layer."""

RECURRENT_WEIGHTS = ("weight_hh", "weight_mh", "weight_skip")
"""The hidden-to-hidden matrices, to which weight drop applies."""
FUSED_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The weights of a fused layer, in the order in which torch takes them."""
_FUSED: dict[str, Callable[[int, int], nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU}
_FUNCTIONS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}
"""The functions behind the modules, by their `mode`."""
_FUSED_RNN: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "tanh": nn.RNN,
    "relu": lambda input_size, hidden_size: nn.RNN(input_size, hidden_size, nonlinearity="relu"),
}


class RecurrentLayer(nn.Module):
    """A recurrent layer over T time steps."""

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters by name (see `layer_shapes`)."""
        raise NotImplementedError

    def forward(
        self, inputs_TBI: Tensor, state: LayerState, generator: torch.Generator | None = None
    ) -> tuple[Tensor, LayerState]:
        """Run the layer over T time steps.

        Args:
            inputs_TBI: input features.
            state: before the first time step.
            generator: source of the dropout masks; None, as in evaluation, disables dropout.

        Returns:
            The input of the next layer (T, B, O), which starts with the outputs (T, B, H), and the state after the last step.
        """
        raise NotImplementedError

    def initial_state(self, num_streams: int) -> LayerState:
        """Return the initial state of B streams."""
        raise NotImplementedError


class FusedLayer(RecurrentLayer):
    """torch.nn.LSTM, GRU or RNN, which run all time steps in one call."""

    def __init__(self, architecture: Architecture, layer: int, *, weight_drop: float = 0.0) -> None:
        super().__init__()
        make_module = _FUSED.get(architecture.cell) or _FUSED_RNN[architecture.nonlinearity]
        self.recurrence = make_module(*architecture.layer_sizes(layer))
        self.initial = _initial_parameters(architecture, layer)
        self._num_states = cell_of(architecture, layer).num_states
        self._weight_drop = weight_drop

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters by name."""
        return {name: getattr(self.recurrence, f"{name}_l0") for name in FUSED_WEIGHTS} | dict(self.initial.items())

    def forward(
        self, inputs_TBI: Tensor, state: LayerState, generator: torch.Generator | None = None
    ) -> tuple[Tensor, LayerState]:
        """Return the outputs (T, B, H) and the state after the last time step."""
        stacked = tuple(array.unsqueeze(0).to(inputs_TBI.dtype) for array in state)
        hidden = stacked if len(stacked) > 1 else stacked[0]
        is_dropped = generator is not None and self._weight_drop > 0
        if is_dropped or (self._uses_weights_repeatedly and torch.is_autocast_enabled("cpu")):
            weights: dict[str, Tensor] = dict(self.named_weights())
            if generator is not None and is_dropped:
                weights["weight_hh"] = _dropped(weights["weight_hh"], self._weight_drop, generator)
            outputs_TBH, last_state = self._run(inputs_TBI, hidden, weights)
        else:
            outputs_TBH, last_state = self.recurrence(inputs_TBI, hidden)
        arrays = last_state if isinstance(last_state, tuple) else (last_state,)
        return outputs_TBH, tuple(array.squeeze(0) for array in arrays)

    @property
    def _uses_weights_repeatedly(self) -> bool:
        """Whether torch multiplies by the weights at each time step, as it does on a CPU, but for LSTMs."""
        return self.recurrence.mode != "LSTM" and self.recurrence.weight_hh_l0.device.type == "cpu"

    def _run(
        self, inputs_TBI: Tensor, hidden: Tensor | tuple[Tensor, ...], weights: dict[str, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the layer with other weights, without changing the module, which several threads share."""
        used = [weights[name] for name in FUSED_WEIGHTS]
        if self._uses_weights_repeatedly:
            used = [in_autocast_type(weight) for weight in used]
        function = _FUNCTIONS[self.recurrence.mode]
        outputs_TBH, *last_state = function(inputs_TBI, hidden, used, True, 1, 0.0, True, False, False)
        return outputs_TBH, tuple(last_state)

    def initial_state(self, num_streams: int) -> LayerState:
        """Return the initial state of B streams."""
        return _initial_state(self.initial, self.named_weights()["weight_hh"], self._num_states, num_streams)


def in_autocast_type(weight: Tensor) -> Tensor:
    """Return a weight in the type in which autocast multiplies, for use at many time steps.

    Autocast's own cache of such weights belongs to all threads: one that leaves autocast empties it while others compute, and
    the gradient, a sum over the time steps in that type, would be rounded at different places in each run.
    """
    device = weight.device.type
    return weight.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else weight


class EquationLayer(RecurrentLayer):
    """The equations of a cell, token by token: for cells without a fused layer, and as the reference of those that have one.

    If the recurrence is linear in the state, it is computed by a scan.
    """

    CHUNK = 8
    """Time steps per compiled call: more take longer to compile and are hardly faster."""

    def __init__(
        self, architecture: Architecture, layer: int, *, weight_drop: float = 0.0, recurrent_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self._compiled: Callable[..., tuple[list[Tensor], LayerState]] | None = None
        self.cell = cell_of(architecture, layer)
        self.hidden_size = architecture.layer_sizes(layer)[1]
        shapes = layer_shapes(architecture, layer)
        self.weights = nn.ParameterDict(
            {name: torch.empty(size) for name, size in shapes.items() if not name.startswith("initial_")}
        )
        self.initial = _initial_parameters(architecture, layer)
        self._weight_drop = weight_drop
        self._recurrent_dropout = recurrent_dropout

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters by name."""
        return cast(dict[str, nn.Parameter], dict(self.weights.items()) | dict(self.initial.items()))

    def forward(
        self, inputs_TBI: Tensor, state: LayerState, generator: torch.Generator | None = None
    ) -> tuple[Tensor, LayerState]:
        """Run the layer over T time steps; see `RecurrentLayer.forward`."""
        weights = self._drawn_weights(inputs_TBI.shape[1], generator)
        projected = self.cell.project(weights, inputs_TBI, torch)
        if self.cell.coefficients is not None:
            outputs_TBH = linear_recurrence(*self.cell.coefficients(projected.float(), torch), state[0].float())
            return outputs_TBH, (outputs_TBH[-1],)
        is_training = generator is not None
        chunks = projected.split(self.CHUNK) if self._compiled and is_training else (projected,)
        outputs = []
        for chunk in chunks:
            run = self._compiled if self._compiled and len(chunk) == self.CHUNK else self._run
            passed_up, state = run(weights, chunk, state)
            outputs.append(torch.cat(passed_up, dim=-1))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0], state

    def _run(
        self, weights: dict[str, Tensor], projected_TBP: Tensor, state: LayerState
    ) -> tuple[list[Tensor], LayerState]:
        """Return the state tensors that the next layer takes as input (T, B, H), and the last state."""
        passed_up: list[list[Tensor]] = [[] for _ in range(self.cell.num_outputs)]
        for projected_BP in projected_TBP:
            state = self.cell.step(weights, projected_BP, state, torch)
            for arrays, array in zip(passed_up, state, strict=False):
                arrays.append(array)
        return [torch.stack(arrays) for arrays in passed_up], state

    def compile_steps(self) -> None:
        """Compile full chunks of time steps in training; the first call triggers the compilation."""
        self._compiled = torch.compile(self._run, dynamic=False)

    def run_uncompiled(self) -> None:
        """Run all time steps uncompiled."""
        self._compiled = None

    def _drawn_weights(self, num_streams: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Return the weights for a batch: in training, with weight drop and the mask of recurrent dropout applied."""
        weights: dict[str, Tensor] = dict(self.weights.items())
        if generator is not None and self._weight_drop:
            for name in (name for name in RECURRENT_WEIGHTS if name in weights):
                weights[name] = _dropped(weights[name], self._weight_drop, generator)
        if generator is not None and self._recurrent_dropout:
            weights[RECURRENT_MASK] = self.recurrent_mask(num_streams, generator)
        return weights

    def recurrent_mask(self, num_streams: int, generator: torch.Generator) -> Tensor:
        """Return a mask of recurrent dropout (B, H), which applies to all time steps of a batch."""
        size = (num_streams, self.hidden_size)
        return keep_mask(size, self._recurrent_dropout, self.weights["weight_ih"].device, generator)

    def initial_state(self, num_streams: int) -> LayerState:
        """Return the initial state of B streams."""
        states = self.cell.num_states
        return _initial_state(self.initial, self.weights["weight_ih"], states, num_streams, self.hidden_size)


def _initial_parameters(architecture: Architecture, layer: int) -> nn.ParameterDict:
    shapes = layer_shapes(architecture, layer)
    return nn.ParameterDict({name: torch.zeros(size) for name, size in shapes.items() if name.startswith("initial_")})


def _initial_state(
    learned: nn.ParameterDict, like: Tensor, num_states: int, num_streams: int, hidden_size: int | None = None
) -> LayerState:
    if len(learned):
        # cuDNN's layers take contiguous states only
        return tuple(learned[f"initial_{index}"].expand(num_streams, -1).contiguous() for index in range(num_states))
    size = (num_streams, hidden_size or like.shape[1])
    return tuple(like.new_zeros(size) for _ in range(num_states))


def _dropped(weight: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Drop entries of a matrix for one batch. Source: Merity et al. (2018), Regularizing and optimizing LSTM models."""
    return weight * keep_mask(weight.shape, probability, weight.device, generator)


def make_layer(architecture: Architecture, layer: int, rates: RegularizationRates | None = None) -> RecurrentLayer:
    """Return the fastest layer for a cell, with uninitialized weights (see `initialize_layer`).

    Args:
        architecture: of the network.
        layer: index of the layer, 0 being the lowest.
        rates: dropout probabilities, by default 0.
    """
    rates = rates or RegularizationRates()
    recurrent_dropout = rates.recurrent if rates.kind == "variational" else 0.0
    if architecture.cell in ("lstm", "gru", "rnn") and not architecture.skip and not recurrent_dropout:
        return FusedLayer(architecture, layer, weight_drop=rates.weight_drop)
    return EquationLayer(architecture, layer, weight_drop=rates.weight_drop, recurrent_dropout=recurrent_dropout)
