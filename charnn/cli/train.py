"""`charnn train`: text in, a model directory out."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.cli import console
from charnn.cli.options import Given, with_options
from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.errors import OptionError
from charnn.options import pick

if TYPE_CHECKING:
    from charnn.training.session import Session

SAMPLE_LENGTH = 160


@with_options(TextOptions, ModelOptions, TrainingOptions)
def train(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT...", help="Files, directories, globs, .gz files, or - for standard input."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="RUN",
            help="The model's directory.",
            show_default="runs/NAME of the text",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that lies there.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run where it stopped.")] = False,
    *,
    given: Given,
) -> None:
    """Train a model on text: charnn train book.txt."""
    started = time.monotonic()
    if resume and overwrite:
        raise OptionError("--resume: found together with --overwrite, but they exclude each other; choose one")
    if not texts and not resume:
        raise OptionError("TEXT: found none; name the text to learn from: charnn train book.txt")
    directory = Path(output) if output is not None else _default_directory(texts)
    if not directory.name:
        raise OptionError(f"-o: found {output!r}, but a run needs a directory of its own; name one such as runs/mine")
    text_options = pick(TextOptions, given)
    model_options = pick(ModelOptions, given)
    training_options = pick(TrainingOptions, given)

    if texts and not resume:
        console.notice(f"reading {', '.join(texts)}")

    from charnn.files import exclusive
    from charnn.training.beginning import begin
    from charnn.training.resuming import go_on

    if resume and texts:
        console.notice("TEXT is not read again: a run goes on with the text that it was begun with")
    with exclusive(directory):
        with _interruptible_reading():
            if resume:
                session = go_on(directory, given, started=started, notify=console.notice)
            else:
                session = begin(
                    directory,
                    texts or [],
                    text_options=text_options,
                    model_options=model_options,
                    training_options=training_options,
                    overwrite=overwrite,
                    started=started,
                    notify=console.notice,
                )
        _train(session)


@contextlib.contextmanager
def _interruptible_reading() -> Iterator[None]:
    """Clean up and say so when SIGINT or SIGTERM comes before training has begun."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        console.notice("interrupted before training began; nothing was changed")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _default_directory(texts: list[str] | None) -> Path:
    from charnn.model_directory import DEFAULT_ROOT, find_model

    if not texts:
        directory = find_model(None)
        console.notice(f"going on with the newest run, {directory}")
        return directory
    name = "stdin" if texts[0] == "-" else Path(texts[0].rstrip("/")).name.removesuffix(".gz")
    return DEFAULT_ROOT / (Path(name).stem.replace("*", "all") or "text")


def _train(session: "Session") -> None:
    from charnn.cli.training_screen import open_screen
    from charnn.training.events import Evaluated, Stopped
    from charnn.training.session import run

    stopped = None
    with _interruptible() as interruption, open_screen(session) as screen:
        for event in run(session, should_stop=lambda: interruption() is not None):
            screen.show(event)
            if isinstance(event, Evaluated):
                screen.show_sample(_short_sample(session), event.step)
            if isinstance(event, Stopped):
                stopped = event
        signal_number = interruption()
    directory = session.directory
    if stopped is not None and stopped.reason == "interrupted":
        console.notice(
            f"interrupted and saved at step {stopped.step:,}; go on with: charnn train --resume -o {directory}"
        )
        raise typer.Exit(128 + (signal_number or signal.SIGINT))
    results = session.config["results"]
    if stopped is not None and stopped.reason == "patience":
        console.notice(f"stopped early at step {stopped.step:,}: validation no longer improved (--patience)")
    if not results["steps"]:
        console.notice(
            "the budget was spent before the first step: the model has learned nothing; give it more --minutes"
        )
    best = results["valid_loss_nats"]
    figure = (
        "nothing was held out"
        if best is None
        else f"best validation {best:.4f} nats a token at step {results['best_step']:,}"
    )
    console.notice(f"{directory}: trained for {results['seconds']:.0f} s, {results['steps']:,} steps; {figure}")
    if results.get("mixture_loss_nats") is not None:
        console.notice(
            f"the n-gram model of order {results['ngram_order']} reaches {results['ngram_loss_nats']:.4f}, both together "
            f"{results['mixture_loss_nats']:.4f} (--mix-ngram)"
        )
    if results["steps"]:
        console.notice(f"write with it: charnn sample -m {directory}")


def _short_sample(session: "Session") -> str:
    import numpy as np

    from charnn.config import SampleOptions
    from charnn.runtime.engine import Engine
    from charnn.runtime.sampler import generate

    model = session.model()
    if not all(np.isfinite(array).all() for array in model.weights.values()):
        return ""
    options = SampleOptions(length=SAMPLE_LENGTH, temperature=0.8)
    prompt = np.zeros(0, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):  # where training fails, what it writes makes no sense either
        pieces = generate(Engine.of(model), model.tokenizer, prompt, options, seed=session.config["seed"])
        return "".join(text for _, text, _ in pieces)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], int | None]]:
    """Let a first SIGINT or SIGTERM only be noted, so that the step in hand is finished and saved; a second one acts."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
