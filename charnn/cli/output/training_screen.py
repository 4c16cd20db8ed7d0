"""Training progress on stderr: a live screen on a terminal, plain lines elsewhere."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import charnn
from charnn.cli.output import console
from charnn.cli.output.sample_box import sample_box
from charnn.config import TrainingOptions
from charnn.errors import first_of

if TYPE_CHECKING:
    from charnn.text.facts import SplitSize
    from charnn.training.events import Evaluated, Event, Progressed, RolledBack, SpeedChanged
    from charnn.training.run.session import Session

BITS = 1 / math.log(2)
MAX_SAMPLE_LINES = 8
WIDE, NARROW = 68, 40
"""Fewest columns of a terminal that shows all details, and the most important ones."""
MAX_FILES = 3
"""Files that are named; the others are counted."""


class Screen(Protocol):
    """Shows the events of training."""

    def show(self, event: "Event") -> None:
        """Show an event."""
        ...


@contextlib.contextmanager
def open_screen(session: "Session") -> Iterator[Screen]:
    """Yield a live screen if stderr is a terminal that can rewrite lines, else a plain one."""
    if not console.has_notice_terminal():
        yield PlainScreen(session)
        return
    terminal = console.error_console()
    screen = LiveScreen(session, terminal)
    with Live(screen, console=terminal, refresh_per_second=4) as live:
        yield screen
        live.update(screen, refresh=True)


class _Losses:
    """Losses in nats per token and bits per character; of numbers, bits per value."""

    def __init__(self, session: "Session") -> None:
        corpus = session.config.corpus
        self._of_numbers = session.config.asked.text.tokenizer == "bins"
        self._train_ratio = 1.0 if self._of_numbers else _tokens_per_char(corpus.train)
        self._valid_ratio = 1.0 if self._of_numbers else _tokens_per_char(corpus.valid)

    def train(self, nats: float) -> str:
        return self._both_units(nats, self._train_ratio)

    def valid(self, nats: float | None) -> str:
        return "nothing held out" if nats is None else self._both_units(nats, self._valid_ratio)

    def _both_units(self, nats: float, tokens_per_char: float) -> str:
        unit = "value" if self._of_numbers else "char"
        return f"{nats:.4f} nats/token, {nats * tokens_per_char * BITS:.3f} bits/{unit}"


def _tokens_per_char(size: "SplitSize") -> float:
    return size.num_tokens / size.num_chars if size.num_chars else math.nan


def headline(session: "Session") -> list[str]:
    """Return the lines that describe the text, the network, the options that were chosen, and the n-gram baseline."""
    config = session.config
    shape, plan, training = config.architecture, config.plan, config.training
    kind = config.asked.text.tokenizer
    names = first_of([file.name for file in config.corpus.files], MAX_FILES)
    faster = plan.bf16_speedup
    precision = f"{plan.precision} ({faster:.1f} times fp32)" if faster else plan.precision
    return [
        f"{names} -> {session.directory}: {config.corpus.train.num_tokens:,} training tokens"
        f"{_units(config.corpus.train, config.asked.text.unit)}, {config.corpus.valid.num_tokens:,} held out"
        f"{_units(config.corpus.valid, config.asked.text.unit)}, vocabulary of {shape.vocab_size:,} ({kind})",
        f"{shape.cell} {shape.num_layers} x {shape.hidden_size}, "
        f"{'one-hot inputs' if shape.inputs == 'one-hot' else 'embedding ' + str(shape.embedding_size)}, "
        f"{_attention(shape.attention_window)}{charnn.api.parameter_counts(shape)}; "
        f"{training.optimizer}, batch {training.batch_size} x {training.bptt_length}, "
        f"{_dropout(training)}; {plan.device}, {precision}; seed {config.seed}",
        *_together(session),
        *(_resumed(session) if session.trainer.position.step else _reasons(session)),
        *_baseline(session),
    ]


def _attention(window: int) -> str:
    return f"attention over {window} positions, " if window else ""


def _together(session: "Session") -> list[str]:
    """Return a line with the number of processes that train the network, if there are several."""
    learner = session.trainer.learner
    if learner.ranks is None:
        return []
    threads = console.counted(learner.workers.max_workers, "thread")
    return [f"trained by {learner.ranks.size} processes, this one with {threads}"]


def _units(size: "SplitSize", unit: str) -> str:
    """Return the number of lines or documents of a split, in parentheses."""
    return "" if unit == "stream" else f" ({console.counted(size.num_units, unit)})"


def _dropout(training: TrainingOptions) -> str:
    """Return the dropout rate: one, or those of the input, hidden layers and output."""
    everywhere = training.dropout
    by_location = (training.input_dropout, training.hidden_dropout, training.output_dropout)
    rates = [f"{everywhere if rate is None else rate:g}" for rate in by_location]
    kind = training.dropout_kind
    name = "dropout" if kind == "locked" else f"{kind} dropout"
    return f"{name} {rates[0] if len(set(rates)) == 1 else '/'.join(rates)}"


def _resumed(session: "Session") -> list[str]:
    """Return a line with the step at which the run is resumed, and the new budget."""
    options, step = session.config.training, session.trainer.position.step
    budgets = [
        f"--minutes {options.minutes:g}" if options.minutes else "",
        f"--steps {options.steps:,}" if options.steps else "",
        f"--epochs {options.epochs:g}" if options.epochs else "",
    ]
    each = ", for each network" if session.config.asked.model.direction == "both" else ""
    return [f"resumed at step {step:,}; total budget now {' and '.join(filter(None, budgets))}{each}"]


def _reasons(session: "Session") -> list[str]:
    """Return a line with the automatically chosen options and the reasons; empty for runs of an older charnn."""
    config = session.config
    plan, shape, training = config.plan, config.architecture, config.training
    if plan.expected_epochs is None:
        return []
    overrides = {name for group in asdict(config.asked).values() for name, value in group.items() if value is not None}
    tokens = f"{config.corpus.train.num_tokens:,} tokens"
    minutes = training.minutes
    epochs = f"about {plan.expected_epochs:,.{0 if plan.expected_epochs >= 10 else 1}f} epochs"
    reasons = {
        "hidden_size": f"hidden size {shape.hidden_size} (from {f'--minutes {minutes:g} and ' if minutes else ''}{tokens})",
        "dropout": f"dropout {training.dropout:g} ({epochs})",
        "ngram_dropout": f"n-gram dropout {training.ngram_dropout:g} ({epochs})",
    }
    if shape.embedding_order == 1:
        del reasons["ngram_dropout"]
    if overrides >= {"input_dropout", "hidden_dropout", "output_dropout"}:
        del reasons["dropout"]
    chosen = [reason for name, reason in reasons.items() if name not in overrides]
    max_threads = session.trainer.workers.max_workers
    speed = f"{plan.training_tokens_per_second:,} tokens/s with {max_threads} thread{'s' if max_threads > 1 else ''}"
    return [f"auto: {', '.join(chosen)}; timed: {speed}" if chosen else f"timed: {speed}"]


def _baseline(session: "Session") -> list[str]:
    """Return a line with the loss of the n-gram model, if there is one."""
    results = session.config.results
    loss = results.ngram_loss_nats
    if loss is None:
        return []
    measured = _Losses(session).valid(loss)
    held_out = f"{len(session.held_out):,} held-out tokens"
    return [f"baseline: {results.ngram_order}-gram model, {measured} on {held_out}"]


class _Trained:
    """The mean training loss and the speed over several `Progressed` events."""

    def __init__(self) -> None:
        self._num_tokens = 0
        self._nats = self._seconds = 0.0

    def add(self, event: "Progressed") -> None:
        """Include an event."""
        self._num_tokens += event.num_tokens
        self._nats += event.num_tokens * event.loss_nats
        self._seconds += event.num_tokens / event.tokens_per_second

    def pop(self) -> str:
        """Return the means and begin anew; nothing if there is no event."""
        if not self._num_tokens:
            return ""
        shown = f"train {self._nats / self._num_tokens:.4f}, {self._num_tokens / self._seconds:,.0f} tokens/s, "
        self._num_tokens, self._nats, self._seconds = 0, 0.0, 0.0
        return shown


class PlainScreen:
    """One line per evaluation."""

    def __init__(self, session: "Session") -> None:
        self._metrics = _Losses(session)
        self._trained = _Trained()
        for line in headline(session):
            console.notice(line)

    def show(self, event: "Event") -> None:
        """Show an evaluation or a rollback; include the training since the last line in it."""
        if isinstance(event, charnn.api.Progressed):
            self._trained.add(event)
        elif isinstance(event, charnn.api.Evaluated):
            valid = self._metrics.valid(event.valid_loss_nats) + (" (best)" if event.is_best else "")
            console.notice(f"{event.seconds:6.1f} s  step {event.step:,}  {self._trained.pop()}valid {valid}")
            if event.sample is not None:
                console.notice(f"    | {console.visible_line(event.sample)}")
        elif isinstance(event, charnn.api.RolledBack):
            console.notice(_rolled_back(event))
        elif isinstance(event, charnn.api.SpeedChanged):
            console.notice(_speed_changed(event))
        elif isinstance(event, charnn.api.SaveFailed):
            console.notice(event.reason)


def _rolled_back(event: "RolledBack") -> str:
    return (
        f"step {event.step:,}: the loss was not finite; rolled back to step {event.to_step:,}, peak learning rate halved "
        f"to {event.learning_rate:.2g}"
    )


def _speed_changed(event: "SpeedChanged") -> str:
    return (
        f"training at {event.measured:,.0f} tokens/s instead of the {event.planned:,.0f} measured beforehand; the "
        "learning-rate schedule, evaluations and end of training follow the clock"
    )


class LiveScreen:
    """Progress bar, losses and a sample, redrawn in place."""

    def __init__(self, session: "Session", terminal: Console) -> None:
        self._metrics = _Losses(session)
        self._terminal = terminal
        self._trainer = session.trainer
        self._headline = headline(session)
        self._progressed: Progressed | None = None
        self._evaluated: Evaluated | None = None
        self._best: Evaluated | None = None
        self._sample: tuple[str, int] | None = None

    def show(self, event: "Event") -> None:
        """Store an event for the next update."""
        if isinstance(event, charnn.api.Progressed):
            self._progressed = event
        elif isinstance(event, charnn.api.Evaluated):
            self._evaluated = event
            self._best = event if event.is_best else self._best
            self._sample = (event.sample, event.step) if event.sample is not None else None
        elif isinstance(event, charnn.api.RolledBack):
            self._terminal.print(_rolled_back(event), style="yellow")
        elif isinstance(event, charnn.api.SpeedChanged):
            self._terminal.print(_speed_changed(event))
        elif isinstance(event, charnn.api.SaveFailed):
            self._terminal.print(event.reason, style="yellow", markup=False)

    def __rich__(self) -> Group:
        """Return the whole screen."""
        parts: list[Text | Table | Panel] = [Text(line, style="dim") for line in self._headline]
        now = self._progressed
        if now is not None:
            parts += [self._bar(now), self._losses(now)]
        if self._sample:
            text, step = self._sample
            width = self._terminal.width
            parts.append(sample_box(text, step=step, width=width, max_lines=MAX_SAMPLE_LINES))
        return Group(*parts)

    def _bar(self, now: "Progressed") -> Table:
        progress = max(now.progress, self._evaluated.progress if self._evaluated else 0.0)
        left = now.seconds * (1 - progress) / progress if progress > 0 else math.inf
        seconds_allowed = self._trainer.budget.seconds  # adjusted to the duration of evaluations
        if seconds_allowed is not None:
            left = min(left, seconds_allowed - now.seconds)
        row = Table.grid(expand=True, padding=(0, 1))
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        state = f"{progress:4.0%}  {_clock(left)}"
        if self._terminal.width >= NARROW:
            state += " left"
        if self._terminal.width >= WIDE:
            state += f"  {now.tokens_per_second:,.0f} tokens/s"
        row.add_row(ProgressBar(total=1.0, completed=progress), state)
        return row

    def _losses(self, now: "Progressed") -> Table:
        grid = Table.grid(padding=(0, 2))
        epoch = f"step {now.step:,}, epoch {now.epoch:.2f}"
        self._add_row(grid, "training", self._metrics.train(now.loss_nats), epoch, style="cyan")
        for label, evaluated, style in (
            ("validation", self._evaluated, "green"),
            ("best", self._best if self._best is not self._evaluated else None, "bold green"),
        ):
            if evaluated is not None:
                loss = self._metrics.valid(evaluated.valid_loss_nats)
                self._add_row(grid, label, loss, f"step {evaluated.step:,}", style=style)
        if self._terminal.width >= NARROW:
            details = (
                f"rate {now.learning_rate:.2g}, gradient norm {now.gradient_norm:.2f}, "
                f"clipped {now.clipped_fraction:.0%}"
            )
            grid.add_row(Text("optimizer", style="dim"), Text(self._fitting(details), style="dim"), "")
        return grid

    def _add_row(self, grid: Table, label: str, loss: str, step: str, *, style: str) -> None:
        """Add a row of losses; a narrow terminal shows the first of them without its unit and step."""
        if self._terminal.width >= NARROW:
            grid.add_row(Text(label, style=style), self._fitting(loss), self._fitting(step))
        else:
            grid.add_row(Text(label, style=style), loss.partition(" nats/")[0])

    def _fitting(self, details: str) -> str:
        """Return the details, which are separated by commas, or only the first of them on a narrow terminal."""
        return details if self._terminal.width >= WIDE else details.partition(", ")[0]


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )
