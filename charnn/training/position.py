"""The position of training in its text and its schedule."""

from dataclasses import asdict, dataclass, field, replace

from charnn.files import JsonObject


@dataclass
class TrainingPosition:
    """The scalars of a checkpoint, which also contains tensors.

    Args:
        step: number of completed steps.
        epoch: number of completed epochs.
        batch_index: of the next batch in the epoch.
        seconds: spent on the run.
        next_evaluation: progress at which to evaluate next.
        num_stale: evaluations since the best one.
        best_loss_nats: lowest validation loss per token.
        best_step: at which it was reached.
        rate_scale: factor of the learning rate, after rollbacks and plateaus.
        num_rollbacks: so far.
        averaging_since: step at which NT-ASGD started to average; 0 if it has not.
        losses: validation losses so far, in nats per token.
        evaluation_seconds: recent median duration of an evaluation.
    """

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
    def of(cls, scalars: JsonObject) -> "TrainingPosition":
        """Return the position in a checkpoint; fields that an older version did not write keep their defaults."""
        return cls(**{name: scalars[name] for name in asdict(cls()) if name in scalars})

    def copy(self) -> "TrainingPosition":
        """Return a copy that shares nothing with this one."""
        return replace(self, losses=list(self.losses))
