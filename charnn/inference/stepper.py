"""The fastest way to read one token after another.

`PlainStepper` asks the engine itself, for the cells that have no stepper of their own in `fused`; it is the reference that the
others are tested against.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from charnn.inference.engine import Engine, EngineState
from charnn.inference.input_projection import Floats, IdArray, Multiply
from charnn.inference.numpy_steppers import FUSED, in_single_precision, is_fused, repeat_state

READ_AT_ONCE = 256
"""Tokens of a prompt that the engine reads at once."""


class Stepper(Protocol):
    """Reads a token of each of B streams at a time.

    Args:
        largest_logit: a bound that no logit's absolute value passes.
    """

    largest_logit: float

    def step(self, ids_B: IdArray) -> Floats:
        """Return the logits (B, V) of the tokens that follow, which the next call may overwrite."""
        ...

    def read(self, ids: IdArray) -> Floats:
        """Read T tokens (T,) of the one stream there is; return the logits (1, V) of what follows."""
        ...

    def replay(self, ids: IdArray) -> Floats:
        """Do the same to the last bit as `step` does, token by token (T,)."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the streams only; one that is named twice goes on as two."""
        ...

    def state(self) -> EngineState:
        """Return the hidden state of the streams, in the layout of the engine."""
        ...

    def fork(self, state: EngineState, num_streams: int = 1) -> "Stepper":
        """Return another one over the same weights."""
        ...


def stepper_for(
    engine: Engine,
    state: EngineState,
    num_streams: int = 1,
    keep_matrix: Callable[[Floats], Multiply] = in_single_precision,
) -> Stepper:
    """Return the quickest way to step.

    Args:
        state: the initial state of B streams, or one for all of them.
        keep_matrix: how a fused stepper keeps and multiplies its matrices.
    """
    if not is_fused(engine.architecture):
        return PlainStepper(engine, state, num_streams)
    return FUSED[engine.architecture.cell](engine, state, num_streams, keep_matrix)


class PlainStepper:
    """The engine's own step."""

    largest_logit = float("inf")

    def __init__(self, engine: Engine, state: EngineState, num_streams: int) -> None:
        self._engine = engine
        self._state = tuple(tuple(repeat_state(part, num_streams) for part in layer) for layer in state)

    def step(self, ids_B: IdArray) -> Floats:
        """See `Stepper`."""
        logits, self._state = self._engine.step(ids_B, self._state)
        return logits

    def read(self, ids: IdArray) -> Floats:
        """See `Stepper`."""
        for first in range(0, len(ids), READ_AT_ONCE):
            outputs, self._state = self._engine.forward(ids[first : first + READ_AT_ONCE, None], self._state)
        return self._engine.logits(outputs[-1])

    def replay(self, ids: IdArray) -> Floats:
        """See `Stepper`."""
        return [self.step(ids[position : position + 1]) for position in range(len(ids))][-1]

    def fork(self, state: EngineState, num_streams: int = 1) -> "Stepper":
        """See `Stepper`."""
        return PlainStepper(self._engine, state, num_streams)

    def keep(self, rows: Sequence[int]) -> None:
        """See `Stepper`."""
        self._state = tuple(tuple(part[list(rows)] for part in layer) for layer in self._state)

    def state(self) -> EngineState:
        """See `Stepper`."""
        return self._state
