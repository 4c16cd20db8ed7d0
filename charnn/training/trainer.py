"""The training loop, as a generator of events."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from charnn.config import TrainingOptions
from charnn.errors import TrainingError
from charnn.storage.checkpoint import Tensors
from charnn.training.batches import Batches
from charnn.training.evaluation import Validation
from charnn.training.events import (
    CheckpointDue,
    Evaluated,
    Event,
    Progressed,
    RolledBack,
    SpeedChanged,
    Stopped,
    StopReason,
)
from charnn.training.loss import LossTotal
from charnn.training.network.network import Network, NetworkState
from charnn.training.objective import TokenNoise
from charnn.training.optim.averaging import TriggeredAverage, is_triggered, make_average
from charnn.training.optim.optimizers import LEARNING_RATES, Optimizer, load_optimizer_arrays, optimizer_arrays
from charnn.training.optim.schedule import Budget, Schedule, seconds_for_steps, teacher_forcing_probability_at
from charnn.training.parallel.groups import group_bounds, joined_state, split_state
from charnn.training.parallel.step import StepResult, TrainingStep
from charnn.training.parallel.tuning import WorkerTuner
from charnn.training.parallel.workers import Workers

REPORT_SECONDS = 0.25
SHARE_FOR_CHECKPOINTS = 0.05
MOST_ROLLBACKS = 5
SHARE_FOR_EVALUATION = 0.05
STALE_EVALUATIONS, PLATEAU_FACTOR = 2, 0.5
"""Evaluations without improvement after which a rate that waits for a plateau is halved."""
PROGRESS_AT_CHECK, OFF_BY = 0.2, 1.5
"""When the speed is compared with the planned one, and how many times as fast or slow is worth a word."""
SHORTEST_MEASUREMENT = 0.05
"""The fraction of the time budget that steps must have taken for their speed to count."""
ROUNDING = 1e-9
STEPS_A_READ = {"cpu": 1, "cuda": 16}
"""How often the loss is read from the device; on a GPU each reading waits for it."""


@dataclass
class Position:
    """Where training stands: with the tensors, all that resuming needs."""

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
        """Return what a checkpoint says; what an older charnn did not write has its default."""
        return cls(**{name: scalars[name] for name in asdict(cls()) if name in scalars})


@dataclass
class _Tally:
    """What has been summed since the last report."""

    loss: LossTotal = field(default_factory=LossTotal)
    norms: list[float] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)


@dataclass
class Trainer:
    """Everything that a step needs; `run` does the steps.

    Args:
        network: on its device.
        optimizers: they share its parameters.
        batches: the training text.
        noise: replaces some of the tokens read.
        validate: reads the held-out text, or is None where nothing is held out.
        options: resolved training options.
        precision: fp32 or bf16 (autocast).
        budget: what may be spent.
        evaluation_interval: progress between evaluations, at least; more where they would take over a twentieth of the time.
        position: where to begin.
        started: `time.monotonic()` at which the clock of this run began, less the seconds spent in earlier ones.
        workers: among whom a step is shared out; what training makes of the weights does not depend on them.
        planned_speed: tokens a second that were timed before training began.
    """

    network: Network
    optimizers: Sequence[Optimizer]
    batches: Batches
    noise: TokenNoise
    validate: Callable[[], Validation] | None
    options: TrainingOptions
    precision: str
    budget: Budget
    evaluation_interval: float
    position: Position
    started: float
    workers: Workers = field(default_factory=Workers)
    planned_speed: float | None = None

    def __post_init__(self) -> None:
        self.states: list[NetworkState] | None = None
        self._one_step = TrainingStep(self.network, self.optimizers, self.options, self.precision, self.workers)
        self._tuner = WorkerTuner(self.workers)
        self._evaluation_seconds: deque[float] = deque(maxlen=3)
        self._steps_seconds, self._steps_tokens = 0.0, 0
        self._device = self.network.device.type
        self._averaged = make_average(self.network, self.options.optimizer)
        self._schedule = Schedule.of(self.options)
        self._tally = _Tally()
        self._unread: list[StepResult] = []
        self._last_checkpoint = time.monotonic()
        self._checkpoint_interval = self.options.save_every
        self._snapshot = self.checkpoint()

    def seconds(self) -> float:
        """Return the time spent on this model, earlier sessions included."""
        return time.monotonic() - self.started

    def run(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Train until the budget is spent, validation no longer improves, or `should_stop` says so.

        Yields:
            Events; at each, `position` and `checkpoint()` are those after the last step.

        Raises:
            TrainingError: where the loss stays infinite or NaN.
        """
        if self.position.step == 0:
            progress = self.budget.progress(0, self.seconds())
            self.position.next_evaluation = min(1.0, progress + self.evaluation_interval)
        while True:
            progress = self.budget.progress(self.position.step, self.seconds())
            if progress >= self.position.next_evaluation - ROUNDING:
                yield from self._report(progress)
                evaluated = self._evaluate(progress)
                yield evaluated
                if isinstance(evaluated, RolledBack):
                    continue
            if reason := self._reason_to_stop(progress, should_stop):
                if not self._read_losses(at_once=True):
                    yield self._roll_back()
                    continue
                self.position.seconds = self.seconds()
                yield Stopped(self.position.step, self.seconds(), reason)
                return
            self._step(progress)
            yield from self._check_speed(progress)
            now = time.monotonic()
            saving = now - self._last_checkpoint >= self._checkpoint_interval
            if not self._read_losses(at_once=saving):
                yield self._roll_back()
                continue
            if now - self._tally.since >= REPORT_SECONDS:
                yield from self._report(progress)
            if saving:
                yield CheckpointDue(self.position.step)
                self._last_checkpoint = time.monotonic()
                cost = self._last_checkpoint - now
                self._checkpoint_interval = max(self.options.save_every, cost / SHARE_FOR_CHECKPOINTS)

    def _check_speed(self, progress: float) -> Iterator[SpeedChanged]:
        """Compare the speed with the planned one, once, where time is what may be spent.

        Nothing has to be done: rates and evaluations are functions of the progress, which is that of the
        clock, and the time kept back for the end is that of the evaluations so far.
        """
        if not self.planned_speed or self.budget.seconds is None or progress < PROGRESS_AT_CHECK:
            return
        if self._steps_seconds < SHORTEST_MEASUREMENT * self.budget.seconds:
            return  # a run that goes on here has not done enough steps to tell
        planned, self.planned_speed = self.planned_speed, None
        measured = self._steps_tokens / self._steps_seconds
        if not 1 / OFF_BY < measured / planned < OFF_BY:
            yield SpeedChanged(self.position.step, planned, measured)

    def _reason_to_stop(self, progress: float, should_stop: Callable[[], bool]) -> StopReason | None:
        if progress >= 1:
            return "budget"
        if self.options.patience and self.position.num_stale >= self.options.patience:
            return "patience"
        return "interrupted" if should_stop() else None

    def _peak_rate(self) -> float:
        return (self.options.learning_rate or LEARNING_RATES[self.options.optimizer]) * self.position.rate_scale

    def _rate(self, progress: float) -> float:
        return self._peak_rate() * self._schedule.rate_factor(progress)

    def _step(self, progress: float) -> None:
        momentum = self._schedule.momentum(progress)
        if momentum is not None:
            for optimizer in self.optimizers:
                optimizer.set_momentum(momentum)
        begun = time.perf_counter()
        result = self.learn(self._rate(progress), progress)
        taken = time.perf_counter() - begun
        self._tuner.note(taken, result.num_targets)
        self._steps_seconds, self._steps_tokens = self._steps_seconds + taken, self._steps_tokens + result.num_targets
        self._unread.append(result)

    def learn(self, rate: float, progress: float = 0.0) -> StepResult:
        """Do a step at a learning rate: read the next batch, and move the weights.

        Args:
            progress: the share of the budget that is spent, by which the share of true inputs falls.
        """
        position = self.position
        batch = self.batches.batch(position.epoch, position.batch_index)
        if batch is None:
            position.epoch, position.batch_index = position.epoch + 1, 0
            batch = self.batches.batch(position.epoch, 0)
            assert batch is not None, "an epoch has at least one batch"
        noise = np.random.default_rng([self.options.seed, position.step, 3])
        result = self._one_step(
            self.noise.apply(batch.inputs_TB, noise),
            batch.targets_TB,
            None if batch.opens else self.states,
            rate=rate * batch.length_fraction,
            number=position.step,
            teacher_forcing_probability=self._share_true(progress),
        )
        self.states = result.states
        position.step += 1
        position.batch_index += 1
        self.workers.run(self._averaged.additions(position.step))
        return result

    def _share_true(self, progress: float) -> float:
        options = self.options
        return teacher_forcing_probability_at(
            progress, last=options.teacher_forcing, descent=options.teacher_forcing_schedule
        )

    def _read_losses(self, *, at_once: bool) -> bool:
        """Add the losses that wait on the device to the tally, if there are enough; tell whether they are finite."""
        if len(self._unread) < STEPS_A_READ[self._device] and not at_once:
            return True
        finite = True
        for result in self._unread:
            nats, length = float(result.loss), float(result.norm)
            finite = finite and math.isfinite(nats) and math.isfinite(length)
            self._tally.loss += LossTotal(nats, result.num_targets)
            self._tally.norms.append(length)
        self._unread.clear()
        return finite

    def _report(self, progress: float) -> Iterator[Progressed]:
        tally, self._tally = self._tally, _Tally()
        if not tally.loss.num_tokens:
            return
        clip = self.options.clip_norm or math.inf
        position = self.position
        yield Progressed(
            step=position.step,
            progress=progress,
            seconds=self.seconds(),
            epoch=position.epoch + position.batch_index / self.batches.steps_per_epoch,
            loss_nats=tally.loss.nats_per_token,
            tokens_per_second=tally.loss.num_tokens / (time.monotonic() - tally.since),
            learning_rate=self._rate(progress),
            gradient_norm=sum(tally.norms) / len(tally.norms),
            clipped_fraction=sum(norm > clip for norm in tally.norms) / len(tally.norms),
        )

    def _evaluate(self, progress: float) -> Evaluated | RolledBack:
        """Read the held-out text. What is not finite is never the best, nor a state to come back to."""
        position = self.position
        if not self._read_losses(at_once=True):
            return self._roll_back()
        begun = time.monotonic()
        with self._averaged.in_place():
            found = self.validate() if self.validate else Validation(LossTotal())
        self._evaluation_seconds.append(time.monotonic() - begun)
        position.next_evaluation = self._next_evaluation(progress, self._evaluation_seconds[-1])
        position.evaluation_seconds = statistics.median(self._evaluation_seconds)
        self._keep_time_for_the_end()
        loss = found.loss.nats_per_token if self.validate else None
        if loss is not None and not math.isfinite(loss):
            return self._roll_back()
        is_best = loss is None or position.best_loss_nats is None or loss < position.best_loss_nats
        position.num_stale = 0 if is_best else position.num_stale + 1
        if is_best:
            position.best_loss_nats, position.best_step = loss, position.step
        if loss is not None:
            self._react(loss)
        self._snapshot = self.checkpoint()
        self._tally = _Tally()
        return Evaluated(
            position.step, progress, self.seconds(), loss, found.loss.num_tokens, found.temperature, is_best
        )

    def _keep_time_for_the_end(self) -> None:
        """Let the steps of a time budget end so early that there is time for the evaluations after them."""
        if self.options.minutes and self.budget.seconds is not None and self.position.evaluation_seconds:
            seconds = seconds_for_steps(self.options.minutes, self.position.evaluation_seconds)
            self.budget = replace(self.budget, seconds=seconds)

    def _react(self, loss_nats: float) -> None:
        """Do what a schedule or an optimizer makes of a validation loss."""
        position = self.position
        position.losses.append(loss_nats)
        if self._schedule.name == "plateau" and position.num_stale and position.num_stale % STALE_EVALUATIONS == 0:
            position.rate_scale *= PLATEAU_FACTOR
        if isinstance(self._averaged, TriggeredAverage) and not position.averaging_since:
            if is_triggered(position.losses):
                position.averaging_since = position.step
            self._averaged.begin(position.averaging_since)

    def _next_evaluation(self, progress: float, seconds_taken: float) -> float:
        """Return the progress at which to evaluate again; with a budget of steps alone it depends on nothing else."""
        interval = self.evaluation_interval
        if self.budget.seconds:
            interval = max(interval, seconds_taken / SHARE_FOR_EVALUATION / self.budget.seconds)
        return 1.0 if progress + 1.5 * interval > 1 else progress + interval

    def _roll_back(self) -> RolledBack:
        failed_at = self.position.step
        scale, num_rollbacks = self.position.rate_scale * 0.5, self.position.num_rollbacks + 1
        if num_rollbacks > MOST_ROLLBACKS:
            raise TrainingError(
                f"step {failed_at}: the loss is not finite, and still so after {MOST_ROLLBACKS} returns to the last good "
                f"state at ever lower rates (last {self._peak_rate():.2g} at most); begin anew with a lower --learning-rate"
            )
        self._load(*self._snapshot)
        self.position.rate_scale, self.position.num_rollbacks = scale, num_rollbacks
        self._tally = _Tally()
        return RolledBack(failed_at, self.position.step, self._peak_rate())

    def averaged_arrays(self, *, temperature: float = 1.0) -> Tensors:
        """Return the averaged weights, as an evaluation reads them and the model keeps them."""
        with self._averaged.in_place():
            return self.network.arrays(temperature=temperature)

    def checkpoint(self) -> tuple[dict[str, Any], Tensors]:
        """Return what resuming needs: scalars, and copies of the tensors by name."""
        self.position.seconds = self.seconds()
        tensors = {f"network.{name}": array for name, array in self.network.arrays().items()}
        tensors |= {f"average.{name}": array for name, array in self._averaged.arrays().items()}
        tensors |= optimizer_arrays(self.optimizers)
        for layer, parts in enumerate(joined_state(self.states) if self.states else ()):
            for number, part in enumerate(parts):
                part = part.float() if part.is_floating_point() else part
                tensors[f"recurrent.{layer}.{number}"] = part.cpu().numpy().copy()
        return asdict(self.position), tensors

    def restore(self, scalars: dict[str, Any], tensors: Tensors) -> None:
        """Go on from what `checkpoint` returned, bit for bit; the clock runs on."""
        self._load(scalars, tensors)
        self._snapshot = (scalars, tensors)
        self._keep_time_for_the_end()

    def _load(self, scalars: dict[str, Any], tensors: Tensors) -> None:
        self.position = Position.of(scalars)
        if isinstance(self._averaged, TriggeredAverage):
            self._averaged.begin(self.position.averaging_since)
        self.network.load_arrays(_below("network.", tensors))
        self._averaged.load_arrays(_below("average.", tensors) or self.network.arrays())
        load_optimizer_arrays(self.optimizers, _below("optimizer.", tensors))
        self.states = self._split(_below("recurrent.", tensors))

    def _split(self, recurrent: Tensors) -> list[NetworkState] | None:
        """Return the carried state of each group of lanes, from a checkpoint's arrays; None where none was carried."""
        if not recurrent:
            return None
        num_layers = len({key.split(".")[0] for key in recurrent})
        state = tuple(
            tuple(
                torch.from_numpy(recurrent[key].copy()).to(self._device)
                for key in sorted(recurrent, key=lambda key: int(key.split(".")[1]))
                if key.startswith(f"{layer}.")
            )
            for layer in range(num_layers)
        )
        return split_state(state, group_bounds(len(state[0][0]), self._device))


def _below(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
