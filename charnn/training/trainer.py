"""The training loop, as a generator of events."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from charnn.config import TrainingOptions
from charnn.errors import TrainingError
from charnn.storage.tensor_file import Tensors
from charnn.training.batches import Batches
from charnn.training.evaluation import Validation
from charnn.training.events import (
    CheckpointDue,
    Evaluated,
    Event,
    Progressed,
    RolledBack,
    Stopped,
    StopReason,
)
from charnn.training.learner import STEP, Learner, Order, part_of
from charnn.training.loss import LossTotal
from charnn.training.network.network import Network
from charnn.training.objective import TokenNoise
from charnn.training.optim.averaging import TriggeredAverage, is_triggered, make_average
from charnn.training.optim.optimizers import LEARNING_RATES, Optimizer
from charnn.training.optim.schedule import Budget, Schedule, seconds_for_steps, teacher_forcing_probability_at
from charnn.training.parallel.ranks import Ranks
from charnn.training.parallel.step import GroupResult, PreparedStep, StepResult
from charnn.training.parallel.workers import Workers
from charnn.training.position import TrainingPosition
from charnn.training.speed_check import SpeedCheck

REPORT_SECONDS = 0.25
MAX_CHECKPOINT_FRACTION = 0.05
MAX_EVALUATION_FRACTION = 0.05
"""Maximum fractions of the time for checkpoints and evaluations."""
MAX_ROLLBACKS = 5
STALE_EVALUATIONS, PLATEAU_FACTOR = 2, 0.5
"""Evaluations without improvement after which the `plateau` schedule halves the learning rate."""
ROUNDING = 1e-9
STEPS_PER_READ = {"cpu": 1, "cuda": 16}
"""Maximum number of steps between reads of the loss from the device; on a GPU, each read synchronizes."""


@dataclass
class _Tally:
    """Losses and gradient norms since the last report."""

    loss: LossTotal = field(default_factory=LossTotal)
    norms: list[float] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)


@dataclass
class Trainer:
    """Trains a network; see `run`.

    Args:
        network: on its device.
        optimizers: optimizers that together update all parameters.
        batches: the training text.
        noise: replaces some input tokens.
        validate: evaluates the network on held-out text; None if nothing is held out.
        options: resolved training options.
        precision: fp32 or bf16 (autocast).
        budget: of steps, of seconds, or both.
        evaluation_interval: minimum progress between evaluations; longer if they would take over a twentieth of the time.
        position: position at which training starts.
        started: `time.monotonic()` minus the seconds already spent on the run.
        workers: threads among which the work of a step is divided; the weights do not depend on their number.
        planned_speed: tokens per second measured before training.
        final_size: tokens on which the final metrics are measured, as a multiple of those of an evaluation.
        write_sample: writes a text with the averaged weights, which is part of each evaluation; None writes none.
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
    position: TrainingPosition
    started: float
    workers: Workers = field(default_factory=Workers)
    planned_speed: float | None = None
    final_size: float = 1.0
    write_sample: Callable[[], str] | None = None

    def __post_init__(self) -> None:
        self.learner = Learner(self.network, self.optimizers, self.options, self.precision, self.workers)
        self._evaluation_seconds: deque[float] = deque(maxlen=3)
        self._sample_seconds = 0.0
        self._speed_check = SpeedCheck(self.planned_speed)
        self._device = self.network.device.type
        self._averaged = make_average(self.network, self.options.optimizer)
        self._schedule = Schedule.of(self.options)
        self._tally = _Tally()
        self._pending: list[StepResult] = []
        self._last_checkpoint = time.monotonic()
        self._checkpoint_interval = self.options.save_every
        self._snapshot: tuple[TrainingPosition, Tensors] | None = None
        self._keep_snapshot()

    def join(self, ranks: Ranks) -> None:
        """Train together with other ranks, of which this is the first."""
        self.learner.join(ranks)

    def seconds(self) -> float:
        """Return the seconds spent on the run, including those before it was resumed."""
        return time.monotonic() - self.started

    def run(self, should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
        """Train until the budget is spent, validation no longer improves, or `should_stop` returns True.

        Args:
            should_stop: called after each step.

        Yields:
            Events; at each, `position` and `checkpoint()` are those after the last step.

        Raises:
            TrainingError: if the loss stays infinite or NaN.
        """
        if self.position.step == 0:
            progress = self.budget.progress(0, self.seconds())
            self.position.next_evaluation = min(1.0, progress + self.evaluation_interval)
        while True:
            progress = self.budget.progress(self.position.step, self.seconds())
            if progress >= self.position.next_evaluation - ROUNDING:
                if not self._collect_losses(force=True):
                    yield self._roll_back()
                    continue
                yield from self._report(progress)
                evaluated = self._evaluate(progress)
                yield evaluated
                if isinstance(evaluated, RolledBack):
                    continue
            if reason := self._reason_to_stop(progress, should_stop):
                if not self._collect_losses(force=True):
                    yield self._roll_back()
                    continue
                self._keep_snapshot()
                yield Stopped(self.position.step, self.seconds(), reason)
                return
            start = time.perf_counter()
            step = self._prepare(self._learning_rate(progress), progress)
            result = self._finish(step, self.learner.workers.run(step.tasks))
            self._speed_check.add(time.perf_counter() - start, result.num_targets)
            self._pending.append(result)
            if change := self._speed_check.change(self.position.step, progress, self.budget):
                yield change
            now = time.monotonic()
            saving = now - self._last_checkpoint >= self._checkpoint_interval
            reporting = now - self._tally.since >= REPORT_SECONDS
            if not self._collect_losses(force=saving or reporting):
                yield self._roll_back()
                continue
            if reporting:
                yield from self._report(progress)
            if saving:
                self._keep_snapshot()
                yield CheckpointDue(self.position.step)
                self._last_checkpoint = time.monotonic()
                cost = self._last_checkpoint - now
                self._checkpoint_interval = max(self.options.save_every, cost / MAX_CHECKPOINT_FRACTION)

    def _reason_to_stop(self, progress: float, should_stop: Callable[[], bool]) -> StopReason | None:
        if progress >= 1:
            return "budget"
        if self.options.patience and self.position.num_stale >= self.options.patience:
            return "patience"
        return "interrupted" if should_stop() or self.learner.stop_requested else None

    def _peak_learning_rate(self) -> float:
        return (self.options.learning_rate or LEARNING_RATES[self.options.optimizer]) * self.position.rate_scale

    def _learning_rate(self, progress: float) -> float:
        return self._peak_learning_rate() * self._schedule.rate_factor(progress)

    def learn(self, learning_rate: float) -> StepResult:
        """Train on the next batch with a given learning rate and otherwise with the settings of the start of a run."""
        step = self._prepare(learning_rate, progress=0.0)
        return self._finish(step, self.learner.workers.run(step.tasks))

    def _prepare(self, learning_rate: float, progress: float) -> PreparedStep:
        """Prepare a step on the next batch."""
        position = self.position
        batch = self.batches.batch(position.epoch, position.batch_index)
        if batch is None:
            position.epoch, position.batch_index = position.epoch + 1, 0
            batch = self.batches.batch(position.epoch, 0)
            assert batch is not None, "an epoch has at least one batch"
        momentum = self._schedule.momentum(progress)
        order = Order(
            STEP,
            position.step,
            position.epoch,
            position.batch_index,
            learning_rate,
            math.nan if momentum is None else momentum,
            teacher_forcing_probability_at(
                progress, final=self.options.teacher_forcing, descent=self.options.teacher_forcing_schedule
            ),
        )
        return self.learner.prepare(order, batch, self.noise)

    def _finish(self, step: PreparedStep, groups: Sequence[GroupResult]) -> StepResult:
        """Update the weights, their average and the position."""
        result = self.learner.finish(step, groups)
        self.position.step += 1
        self.position.batch_index += 1
        self.workers.run(self._averaged.updates_after(self.position.step))
        return result

    def _collect_losses(self, *, force: bool) -> bool:
        """Add pending losses to the tally if there are enough; return whether they (if forced, also all weights) are finite."""
        if len(self._pending) < STEPS_PER_READ[self._device] and not force:
            return True
        finite = not force or self.network.is_finite()
        for result in self._pending:
            nats, norm = float(result.loss), float(result.norm)
            finite = finite and math.isfinite(nats) and math.isfinite(norm)
            self._tally.loss += LossTotal(nats, result.num_targets)
            self._tally.norms.append(norm)
        self._pending.clear()
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
            num_tokens=tally.loss.num_tokens,
            loss_nats=tally.loss.nats_per_token,
            tokens_per_second=tally.loss.num_tokens / (time.monotonic() - tally.since),
            learning_rate=self._learning_rate(progress),
            gradient_norm=sum(tally.norms) / len(tally.norms),
            clipped_fraction=sum(norm > clip for norm in tally.norms) / len(tally.norms),
        )

    def _evaluate(self, progress: float) -> Evaluated | RolledBack:
        """Evaluate on the held-out text; if the loss is not finite, roll back."""
        position = self.position
        start = time.monotonic()
        with self._averaged.in_place():
            validation = self.validate() if self.validate else Validation(LossTotal())
        self._evaluation_seconds.append(time.monotonic() - start)
        loss = validation.loss.nats_per_token if self.validate else None
        is_finite = loss is None or math.isfinite(loss)
        sample = self._sample() if is_finite else None
        position.next_evaluation = self._next_evaluation(progress, time.monotonic() - start)
        position.evaluation_seconds = statistics.median(self._evaluation_seconds)
        self._reserve_final_seconds()
        if not is_finite:
            return self._roll_back()
        is_best = loss is None or position.best_loss_nats is None or loss < position.best_loss_nats
        position.num_stale = 0 if is_best else position.num_stale + 1
        if is_best:
            position.best_loss_nats, position.best_step = loss, position.step
        if loss is not None:
            self._apply_validation_loss(loss)
        self._keep_snapshot()
        self._tally = _Tally()
        num_tokens, temperature, old_loss = validation.loss.num_tokens, validation.temperature, validation.old_loss_nats
        return Evaluated(
            position.step, progress, self.seconds(), loss, num_tokens, temperature, is_best, sample, old_loss
        )

    def _sample(self) -> str | None:
        """Return a text that the averaged weights write, and note how long it took."""
        if self.write_sample is None:
            return None
        start = time.monotonic()
        sample = self.write_sample()
        self._sample_seconds = time.monotonic() - start
        return sample

    def _reserve_final_seconds(self) -> None:
        """Reserve time for the final evaluations within a time budget."""
        if self.options.minutes and self.budget.seconds is not None and self.position.evaluation_seconds:
            seconds = seconds_for_steps(
                self.options.minutes, self.position.evaluation_seconds, self.final_size, self._sample_seconds
            )
            self.budget = replace(self.budget, seconds=seconds)

    def _apply_validation_loss(self, loss_nats: float) -> None:
        """Update the plateau schedule and the triggered average with a validation loss."""
        position = self.position
        position.losses.append(loss_nats)
        if self._schedule.name == "plateau" and position.num_stale and position.num_stale % STALE_EVALUATIONS == 0:
            position.rate_scale *= PLATEAU_FACTOR
        if isinstance(self._averaged, TriggeredAverage) and not position.averaging_since:
            if is_triggered(position.losses):
                position.averaging_since = position.step
            self._averaged.start(position.averaging_since)

    def _next_evaluation(self, progress: float, seconds_taken: float) -> float:
        """Return the progress at which to evaluate next; it depends on the clock only with a time budget."""
        interval = self.evaluation_interval
        if self.budget.seconds:
            interval = max(interval, seconds_taken / MAX_EVALUATION_FRACTION / self.budget.seconds)
        return 1.0 if progress + 1.5 * interval > 1 else progress + interval

    def _roll_back(self) -> RolledBack:
        failed_at = self.position.step
        scale, num_rollbacks = self.position.rate_scale * 0.5, self.position.num_rollbacks + 1
        if num_rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"step {failed_at}: the loss is not finite, even after {MAX_ROLLBACKS} rollbacks to the last finite "
                f"loss, each with a lower learning rate (last {self._peak_learning_rate():.2g}); "
                "restart with a lower --learning-rate"
            )
        assert self._snapshot is not None
        self._load(*self._snapshot)
        self.position.rate_scale, self.position.num_rollbacks = scale, num_rollbacks
        self._tally = _Tally()
        return RolledBack(failed_at, self.position.step, self._peak_learning_rate())

    def averaged_arrays(self, *, temperature: float = 1.0) -> Tensors:
        """Return copies of the averaged weights, which are the weights that are evaluated and saved."""
        with self._averaged.in_place():
            return self.network.arrays(temperature=temperature)

    def checkpoint(self) -> tuple[TrainingPosition, Tensors]:
        """Return a checkpoint: copies of the position and of the tensors by name, which must not be changed."""
        self.position.seconds = self.seconds()
        if self._snapshot is not None and self._snapshot[0].step == self.position.step:
            return self.position.copy(), self._snapshot[1]
        tensors = self.learner.tensors()
        tensors |= {f"average.{name}": array for name, array in self._averaged.arrays().items()}
        return self.position.copy(), tensors

    def _keep_snapshot(self) -> None:
        """Keep a checkpoint in memory, to return to after an infinite loss, instead of the one before it."""
        self._snapshot = None  # two would need as much memory again
        self._snapshot = self.checkpoint()

    def restore(self, position: TrainingPosition, tensors: Tensors) -> None:
        """Resume from a checkpoint, bit for bit; the clock keeps running."""
        self._load(position, tensors)
        batch = self.batches.batch(position.epoch, position.batch_index)
        num_rows = sum(len(state[0][0]) for state in self.learner.states or ())
        if batch is not None and not batch.is_first and batch.inputs_TB.shape[1] != num_rows:
            raise ValueError(f"a hidden state of {num_rows} rows, and a batch of {batch.inputs_TB.shape[1]}")
        self._snapshot = (position.copy(), tensors)
        self._reserve_final_seconds()

    def _load(self, position: TrainingPosition, tensors: Tensors) -> None:
        self.position = position.copy()
        if isinstance(self._averaged, TriggeredAverage):
            self._averaged.start(self.position.averaging_since)
        self.learner.load({name: array for name, array in tensors.items() if not name.startswith("average.")})
        self._averaged.load_arrays(part_of(tensors, "average.") or self.network.arrays())
