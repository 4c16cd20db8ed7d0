"""Gate saturation: how often the gates of each unit are almost closed or almost open.

Source: Karpathy et al. (2015), Visualizing and understanding recurrent networks, whose gates are left-saturated below 0.1 and
right-saturated above 0.9.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.analysis.gradient_norms import IdArray, first_of_units
from charnn.inference.tracing import TracingEngine

CLOSED, OPEN = 0.1, 0.9
NUM_ROWS, ROW_LENGTH, WARM_UP = 32, 128, 64
CHUNK = 32
"""Tokens of each row that are traced at once."""

Fractions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GateSaturation:
    """How saturated a gate is.

    Args:
        layer: from 1, the lowest.
        gate: its name.
        closed, open: of each unit, the fraction of tokens at which the gate is below `CLOSED`, and above `OPEN` (H,).
    """

    layer: int
    gate: str
    closed: Fractions
    open: Fractions


def gate_saturation(engine: TracingEngine, ids: IdArray, *, unit: str, boundary_id: int) -> list[GateSaturation]:
    """Return the saturation of each gate over parts of a text that are spread evenly over it.

    Args:
        ids: the text (N,).
        unit: stream, line or document; lines and documents are read from their beginning.
        boundary_id: the token that the network reads first.
    """
    inputs = np.concatenate(([boundary_id], ids[:-1]))
    starts, lengths, warm_up = _rows(ids, unit=unit, boundary_id=boundary_id)
    positions = np.minimum(starts + np.arange(int(lengths.max()))[:, None], len(ids) - 1)
    times = np.arange(len(positions))[:, None]
    is_counted = (times >= warm_up) & (times < lengths)
    state = engine.initial_state(len(starts))
    counts: dict[tuple[int, str], npt.NDArray[np.int64]] = {}
    for first in range(0, len(positions), CHUNK):
        trace = engine.trace(inputs[positions[first : first + CHUNK]], state)
        counted, state = is_counted[first : first + CHUNK], trace.state
        for layer, recorded in enumerate(trace.layers, start=1):
            for gate, values_TBH in recorded.gates.items():
                values_NH = values_TBH[counted]
                saturated = np.stack(((values_NH < CLOSED).sum(axis=0), (values_NH > OPEN).sum(axis=0)))
                counts[layer, gate] = counts.get((layer, gate), 0) + saturated
    total = int(is_counted.sum())
    return [GateSaturation(layer, gate, *(found / total)) for (layer, gate), found in counts.items()]


def _rows(ids: IdArray, *, unit: str, boundary_id: int) -> tuple[IdArray, IdArray, IdArray]:
    """Return where rows of the text start, their lengths, and how many tokens of each only warm up the state (B,)."""
    if unit != "stream":
        starts = np.unique(first_of_units(ids, unit=unit, boundary_id=boundary_id))
        ends = np.append(starts[1:], len(ids))
        chosen = np.unique(np.linspace(0, len(starts) - 1, NUM_ROWS).astype(np.int64))
        return starts[chosen], np.minimum((ends - starts)[chosen], ROW_LENGTH), np.zeros(len(chosen), dtype=np.int64)
    length = min(WARM_UP + ROW_LENGTH, len(ids))
    number = int(np.clip(len(ids) // length, 1, NUM_ROWS))
    starts = np.linspace(0, len(ids) - length, number).astype(np.int64)
    return starts, np.full(number, length), np.where(starts > 0, min(WARM_UP, length // 2), 0)
