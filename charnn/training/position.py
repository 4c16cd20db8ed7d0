"""Where training stands in its text and its schedule."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Position:
    """The scalars of a checkpoint; with its tensors, all that resuming needs."""

    step: int = 0
    epoch: int = 0
    batch_index: int = 0
    seconds: float = 0.0
    next_evaluation: float = 0.0
    num_stale: int = 0
    best_loss_nats: float | None = None
    best_step: int = 0
    rate_scale: float = 1.0
    num_rollbacks: int = 0
    averaging_since: int = 0
    losses: list[float] = field(default_factory=list)
    evaluation_seconds: float = 0.0

    @classmethod
    def of(cls, scalars: dict[str, Any]) -> "Position":
        """Return the position in a checkpoint; fields that an older version did not write have their defaults."""
        return cls(**{name: scalars[name] for name in asdict(cls()) if name in scalars})
