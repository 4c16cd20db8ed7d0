"""The gated recurrent unit."""

from collections.abc import Sequence
from typing import Any

from charnn.cells.gates import sigmoid, split_gates


def gru(projected_BG: Any, recurrent_BG: Any, state: Sequence[Any], xp: Any) -> tuple[Any, ...]:
    """r = s(W_r x + U_r h), z = s(W_z x + U_z h), n = tanh(W_n x + r * (U_n h + b)), h' = (1 - z) * n + z * h.

    Source: Cho et al. (2014), Learning phrase representations using RNN encoder-decoder, with the reset gate after the
    product, as cuDNN has it. Gate order r, z, n.
    """
    (hidden,) = state
    projected_r, projected_z, projected_n = split_gates(projected_BG, 3)
    recurrent_r, recurrent_z, recurrent_n = split_gates(recurrent_BG, 3)
    reset = sigmoid(projected_r + recurrent_r, xp)
    update = sigmoid(projected_z + recurrent_z, xp)
    new = xp.tanh(projected_n + reset * recurrent_n)
    return (new + update * (hidden - new),)
