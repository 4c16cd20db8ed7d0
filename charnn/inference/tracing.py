"""What happens inside a network while it reads: states and gates, recorded from the reference equations of the cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charnn.cells.attention import Attended
from charnn.inference.engine import Engine, EngineState, Floats, IdArray, LayerState

GATE_NAMES = {
    "lstm": ("forget", "input", "output"),
    "mlstm": ("forget", "input", "output"),
    "depth-lstm": ("forget", "input", "depth", "output"),
    "mogrifier": ("forget", "input", "output"),
    "gru": ("reset", "update"),
    "leaky": ("leak",),
    "mingru": ("keep", "update"),
    "minlstm": ("forget", "input"),
}
"""The gates of each cell in the order in which its equations compute them; a gate of another cell has a number."""


@dataclass(frozen=True)
class LayerTrace:
    """What a layer computed.

    Args:
        states: the parts of the state after each token (T, B, H), the output first; of an LSTM, then the memory cell.
        gates: by name (T, B, H), each from 0 to 1.
    """

    states: tuple[Floats, ...]
    gates: dict[str, Floats]

    @property
    def memory(self) -> Floats | None:
        """The memory cells of an LSTM (T, B, H), None for a cell without them."""
        return self.states[1] if "forget" in self.gates and len(self.states) > 1 else None


@dataclass(frozen=True)
class AttentionTrace:
    """What attention computed.

    Args:
        outputs: of the top layer, without what attention adds (T, B, H).
        weights: of each token that is read (B, T, P + T): its column P + t is the token t of the T that are read, the P =
            window - 1 columns before are the tokens before them.
    """

    outputs: Floats
    weights: Floats

    @property
    def by_distance(self) -> Floats:
        """The weights by distance from the token that is read, 0 for itself (B, T, P + 1)."""
        num_tokens, past = self.weights.shape[1], self.weights.shape[2] - self.weights.shape[1]
        columns = past + np.arange(num_tokens)[:, None] - np.arange(past + 1)
        return np.take_along_axis(self.weights, columns[None], axis=-1)


@dataclass(frozen=True)
class Trace:
    """What a network computed while it read T tokens of B streams.

    Args:
        layers: the lowest first.
        outputs: of the top layer (T, B, O), with what attention adds, which `Engine.logits` turns into logits.
        state: after the last token.
        attention: None for a network without attention.
    """

    layers: tuple[LayerTrace, ...]
    outputs: Floats
    state: EngineState
    attention: AttentionTrace | None = None


class TracingEngine(Engine):
    """An engine that records every state and gate, and where attention looks, with the same results as `Engine`.

    Example:
        >>> engine = charnn.api.TracingEngine.of(model.models[0])
        >>> trace = engine.trace(np.array([[5], [6]]), engine.initial_state())
        >>> trace.layers[0].states[0].shape[:2]
        (2, 1)
    """

    def trace(self, ids_TB: IdArray, state: EngineState) -> Trace:
        """Read T tokens of each stream.

        Memory grows by T * B * H floats for each part of the state and each gate, with attention also by B * T * (P + T).
        """
        self._traces: list[LayerTrace] = []
        self._attention: AttentionTrace | None = None
        outputs, new_state = self.forward(ids_TB, state)
        return Trace(tuple(self._traces), outputs, new_state, self._attention)

    def _attended(self, outputs_TBH: Floats, memory: LayerState) -> Attended:
        """Attend, and record the weights."""
        attended = super()._attended(outputs_TBH, memory)
        self._attention = AttentionTrace(outputs_TBH, _joined(attended.weights))
        return attended

    def _run_layer(self, number: int, projected_TBP: Floats, state: LayerState) -> tuple[list[Floats], LayerState]:
        """Run a layer, and record its states and gates."""
        cell, weights = self._cells[number], self._layers[number]
        kind = "lstm" if self.architecture.cell == "depth-lstm" and not number else self.architecture.cell
        recorder = _Recorder(kind, self.architecture.layer_sizes(number)[1])
        steps: list[LayerState] = []
        gates: list[list[Floats]] = []
        if cell.coefficients is not None:
            kept, new = cell.coefficients(recorder.view(projected_TBP), self.xp)
            by_gate = recorder.pop()
            for time in range(len(projected_TBP)):
                state = (np.asarray(kept[time] * state[0] + new[time]),)
                steps.append(state)
        else:
            viewed = {name: recorder.view(weight) if name == "leak" else weight for name, weight in weights.items()}
            for projected_BP in projected_TBP:
                state = tuple(map(np.asarray, cell.step(viewed, recorder.view(projected_BP), state, self.xp)))
                steps.append(state)
                gates.append([np.broadcast_to(gate, state[0].shape) for gate in recorder.pop()])
            by_gate = [np.stack(values) for values in zip(*gates, strict=True)]
        parts = tuple(np.stack(values) for values in zip(*steps, strict=True))
        self._traces.append(LayerTrace(parts, dict(zip(recorder.names(len(by_gate)), by_gate, strict=True))))
        return list(parts[: cell.num_outputs]), state


def _joined(blocks: Sequence[Floats]) -> Floats:
    """Return the weights (B, T, P + T) of all tokens from those of blocks of them (B, t, P + t)."""
    num_tokens, past = sum(block.shape[1] for block in blocks), blocks[0].shape[2] - blocks[0].shape[1]
    weights = np.zeros((len(blocks[0]), num_tokens, past + num_tokens), dtype=np.float32)
    first = 0
    for block in blocks:
        weights[:, first : first + block.shape[1], first : first + block.shape[2]] = block
        first += block.shape[1]
    return weights


class _Recorder:
    """Records each logistic function of an array, or of what is computed from it.

    Args:
        cell: its name.
        size: of a gate of units; the mogrifier has also gates of inputs.
    """

    def __init__(self, cell: str, size: int) -> None:
        self._cell, self._size = cell, size
        self._found: list[Floats] = []
        self._array_type = type("Recorded", (_Recorded,), {"found": self._found})

    def view(self, array: Floats) -> Floats:
        """Return a view of an array, whose gates are recorded."""
        return np.asarray(array).view(self._array_type)

    def pop(self) -> list[Floats]:
        """Return the gates that were recorded since the last call, in the order of `GATE_NAMES`."""
        gates = [gate for gate in self._found if gate.shape[-1] == self._size]
        self._found.clear()
        number = len(GATE_NAMES.get(self._cell, gates))
        return gates[len(gates) - number :] if self._cell == "mogrifier" else gates[:number]

    def names(self, number: int) -> Sequence[str]:
        """Return the names of the gates."""
        names = GATE_NAMES.get(self._cell, ())
        return names if len(names) == number else [f"gate {index}" for index in range(1, number + 1)]


class _Recorded(np.ndarray[Any, np.dtype[np.float32]]):
    """An array that records its logistic function; so does what is computed from it."""

    __array_priority__ = 1.0
    found: list[Floats]

    def sigmoid(self) -> Floats:
        """Return the logistic function, by the same formula as `charnn.cells.gates.sigmoid`, and record it."""
        values: Floats = np.tanh(self * 0.5) * 0.5 + 0.5
        self.found.append(np.asarray(values))
        return values
