"""Gradient clipping during training, as the run recorded it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charnn.files import JsonObject
from charnn.storage.run_config import RunConfig

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Clipping:
    """The gradients of training steps.

    Args:
        clip_norm: the norm to which a gradient is clipped; None if it is not.
        steps: the last step of each record (M,).
        norms: mean norm before clipping since the record before (M,).
        fractions: fraction of the steps since then whose gradient was clipped (M,).
        clipped_fraction: fraction of all recorded steps.
    """

    clip_norm: float | None
    steps: npt.NDArray[np.int64]
    norms: npt.NDArray[np.float64]
    fractions: npt.NDArray[np.float64]
    clipped_fraction: float


def read_clipping(directory: Path, config: RunConfig) -> Clipping | None:
    """Return the gradient norms in the metrics of a run, or None if it has none."""
    path = directory / METRICS
    if not path.exists():
        return None
    step = 0
    kept: list[tuple[float, float, float, float]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        record = _record(line)
        if record.get("event") == "rolledback":
            step = int(record["to_step"])
            kept = [row for row in kept if row[0] <= step]
        elif record.get("event") == "progressed":
            before, step = step, int(record["step"])
            kept.append((step, step - before, record["gradient_norm"], record["clipped_fraction"]))
    if not kept:
        return None
    steps, num_steps, norms, fractions = (np.array(column, dtype=np.float64) for column in zip(*kept, strict=True))
    total = float((fractions * num_steps).sum() / num_steps.sum())
    return Clipping(config.training.clip_norm or None, steps.astype(np.int64), norms, fractions, total)


def _record(line: str) -> JsonObject:
    """Return the record in a line; an empty one for a line that was cut off when the run was killed."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
