"""Curves of training, from the records of `metrics.jsonl`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.files import JsonObject

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation on held-out text.

    Args:
        step, seconds: since the start of the run.
        loss_nats: validation loss per token; None if nothing is held out.
        is_best: whether the loss was the lowest so far.
        sample: the text that the network wrote; None in runs of older versions.
    """

    step: int
    seconds: float
    loss_nats: float | None
    is_best: bool
    sample: str | None


@dataclass(frozen=True)
class Curves:
    """What training looked like over time; of steps that were rolled back, nothing is kept.

    Args:
        step, seconds: since the start of the run (N,).
        loss_nats: mean training loss per token since the point before (N,).
        learning_rate: (N,).
        gradient_norm: mean norm before clipping (N,).
        clipped_fraction: of the steps (N,).
        tokens_per_second: (N,).
        evaluations: in order.
        num_rollbacks: how often training went back to an earlier step since the loss was not finite.
    """

    step: Floats
    seconds: Floats
    loss_nats: Floats
    learning_rate: Floats
    gradient_norm: Floats
    clipped_fraction: Floats
    tokens_per_second: Floats
    evaluations: Sequence[Evaluation]
    num_rollbacks: int

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the lowest loss."""
        measured = [each for each in self.evaluations if each.loss_nats is not None]
        return min(measured, key=lambda each: each.loss_nats or 0.0, default=None)

    @property
    def samples(self) -> list[Evaluation]:
        """The evaluations with a sample."""
        return [each for each in self.evaluations if each.sample]


_COLUMNS = (
    "step",
    "seconds",
    "loss_nats",
    "learning_rate",
    "gradient_norm",
    "clipped_fraction",
    "tokens_per_second",
)


def read_curves(directory: Path) -> Curves:
    """Return the curves of a run; without any point if its `metrics.jsonl` is missing.

    A line that is no record, such as the last one of a run that was killed, is skipped.
    """
    progressed: list[JsonObject] = []
    evaluated: list[JsonObject] = []
    num_rollbacks = 0
    for record in _records(directory / "metrics.jsonl"):
        kind = record.get("event")
        if kind == "rolledback":
            num_rollbacks += 1
            progressed = [each for each in progressed if each["step"] <= record["to_step"]]
            evaluated = [each for each in evaluated if each["step"] <= record["to_step"]]
        elif kind == "progressed":
            progressed.append(record)
        elif kind == "evaluated":
            evaluated.append(record)
    columns = {name: np.array([each[name] for each in progressed], dtype=np.float64) for name in _COLUMNS}
    evaluations = [
        Evaluation(each["step"], each["seconds"], each["valid_loss_nats"], each["is_best"], each.get("sample"))
        for each in evaluated
    ]
    return Curves(**columns, evaluations=evaluations, num_rollbacks=num_rollbacks)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete records of a file; none if it is missing."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and set(_NEEDED.get(str(record.get("event")), ())) <= set(record):
                yield record


_NEEDED = {
    "progressed": _COLUMNS,
    "evaluated": ("step", "seconds", "valid_loss_nats", "is_best"),
    "rolledback": ("to_step",),
}


def thinned(curve: Floats, max_points: int) -> Floats:
    """Return the means of consecutive points of a curve (N,), at most so many."""
    if len(curve) <= max_points:
        return curve
    return np.array([part.mean() for part in np.array_split(curve, max_points)])
