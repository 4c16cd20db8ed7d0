"""The distribution at each token of a text."""

import numpy as np
import numpy.typing as npt

from charnn.inference.engine import Engine, log_softmax
from charnn.inference.prompt import context_segments


def log_distributions(
    engine: Engine, boundary_id: int, ids: npt.NDArray[np.int64], vocab_size: int
) -> npt.NDArray[np.float64]:
    """Return the log probabilities, in nats, over the vocabulary at each token of a text (T, V)."""
    state, rows = engine.initial_state(), [np.zeros((0, vocab_size))]
    for part, _ in context_segments(boundary_id, ids):
        outputs_TBH, state = engine.forward(part, state)
        rows.append(log_softmax(engine.logits(outputs_TBH))[:, 0])
    return np.concatenate(rows)
