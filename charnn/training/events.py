"""Events of training, which the trainer yields and its callers show or save."""

from dataclasses import asdict, dataclass
from typing import Literal

from charnn.files import JsonObject

StopReason = Literal["budget", "patience", "interrupted"]


@dataclass(frozen=True)
class Progressed:
    """Progress of training since the last such event.

    Args:
        step: steps since the start of the run.
        progress: fraction of the budget that is spent.
        seconds: spent since the start of the run.
        epoch: epochs since the start of the run, with fractions.
        num_tokens: trained on since the last such event.
        loss_nats: mean training loss per token since then.
        tokens_per_second: since then.
        learning_rate: of the last step.
        gradient_norm: mean norm before clipping.
        clipped_fraction: fraction of steps whose gradient was clipped.
    """

    step: int
    progress: float
    seconds: float
    epoch: float
    num_tokens: int
    loss_nats: float
    tokens_per_second: float
    learning_rate: float
    gradient_norm: float
    clipped_fraction: float


@dataclass(frozen=True)
class Evaluated:
    """An evaluation on the held-out text.

    Args:
        step: steps since the start of the run.
        progress: fraction of the budget that is spent.
        seconds: spent since the start of the run.
        valid_loss_nats: mean loss per token at the temperature; None if no text is held out.
        num_tokens: number of evaluated tokens.
        temperature: divisor of the logits, fitted to the held-out text.
        is_best: whether the loss is the lowest so far.
        sample: a text that the evaluated weights wrote; None if none was drawn.
        old_loss_nats: loss per token on held-out text of the model that is trained further, if any.
    """

    step: int
    progress: float
    seconds: float
    valid_loss_nats: float | None
    num_tokens: int
    temperature: float
    is_best: bool
    sample: str | None = None
    old_loss_nats: float | None = None


@dataclass(frozen=True)
class CheckpointDue:
    """A checkpoint is due, after `save_every` seconds."""

    step: int


@dataclass(frozen=True)
class SaveFailed:
    """A checkpoint could not be saved: training continues, and the next one is tried when it is due.

    Args:
        step: of the checkpoint.
        reason: what could not be written, and why.
    """

    step: int
    reason: str


@dataclass(frozen=True)
class RolledBack:
    """The loss was not finite: training continues from an earlier step with half the peak learning rate.

    Args:
        step: at which the loss was not finite.
        to_step: from which training continues.
        learning_rate: the new peak.
    """

    step: int
    to_step: int
    learning_rate: float


@dataclass(frozen=True)
class SpeedChanged:
    """After a fifth of the time budget, training is faster or slower than planned.

    Args:
        step: steps since the start of the run.
        planned, measured: tokens per second.
    """

    step: int
    planned: float
    measured: float


@dataclass(frozen=True)
class Stopped:
    """Training has ended or was interrupted.

    Args:
        step: steps since the start of the run.
        seconds: spent since the start of the run.
        reason: the budget is spent, validation no longer improves (patience), or `should_stop` returned True.
    """

    step: int
    seconds: float
    reason: StopReason


Event = Progressed | Evaluated | CheckpointDue | SaveFailed | RolledBack | SpeedChanged | Stopped


def event_json(event: Event) -> JsonObject:
    """Return an event as one record of `metrics.jsonl`."""
    values = asdict(event)
    if values.get("old_loss_nats", 0.0) is None:
        del values["old_loss_nats"]
    return {"event": type(event).__name__.lower(), **values}
