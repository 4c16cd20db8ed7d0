"""What happens in training, as values: the trainer yields them, others show or save them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

StopReason = Literal["budget", "patience", "interrupted"]


@dataclass(frozen=True)
class Progressed:
    """Some steps were done.

    Args:
        step: steps done since the beginning of the run.
        progress: share of the budget that is spent.
        seconds: time spent.
        epoch: passes over the text, with fractions.
        loss_nats: mean training loss a token since the last such event.
        tokens_per_second: speed since then.
        learning_rate: that of the last step.
        gradient_norm: mean norm before clipping.
        clipped_fraction: share of steps whose gradient was clipped.
    """

    step: int
    progress: float
    seconds: float
    epoch: float
    loss_nats: float
    tokens_per_second: float
    learning_rate: float
    gradient_norm: float
    clipped_fraction: float


@dataclass(frozen=True)
class Evaluated:
    """The held-out text was read.

    Args:
        valid_loss_nats: mean loss a token at the temperature, None where nothing is held out.
        num_tokens: tokens that it is the mean of.
        temperature: what the logits were divided by for it.
        is_best: whether no earlier evaluation was as good.
    """

    step: int
    progress: float
    seconds: float
    valid_loss_nats: float | None
    num_tokens: int
    temperature: float
    is_best: bool


@dataclass(frozen=True)
class CheckpointDue:
    """Enough time has passed to save the state of training."""

    step: int


@dataclass(frozen=True)
class RolledBack:
    """The loss was not finite: training goes on from an earlier step with a smaller peak of the learning rate."""

    step: int
    to_step: int
    learning_rate: float


@dataclass(frozen=True)
class SpeedChanged:
    """A fifth of the time is over, and training is not as fast as it was timed before it began.

    Args:
        planned, measured: tokens a second.
    """

    step: int
    planned: float
    measured: float


@dataclass(frozen=True)
class Stopped:
    """Training is over, or interrupted."""

    step: int
    seconds: float
    reason: StopReason


Event = Progressed | Evaluated | CheckpointDue | RolledBack | SpeedChanged | Stopped


def event_json(event: Event) -> dict[str, Any]:
    """Return an event as one record of `metrics.jsonl`."""
    return {"event": type(event).__name__.lower(), **asdict(event)}
