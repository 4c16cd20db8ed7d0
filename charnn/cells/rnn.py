"""The simple recurrent network."""

from collections.abc import Sequence
from typing import Any


def rnn(projected_BG: Any, recurrent_BG: Any, state: Sequence[Any], xp: Any) -> tuple[Any, ...]:  # noqa: ARG001
    """h' = tanh(W x + U h + b).

    Source: Elman (1990), Finding structure in time.
    """
    return (xp.tanh(projected_BG + recurrent_BG),)
