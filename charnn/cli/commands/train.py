"""`charnn train`: train a model on text and write a model directory."""

import contextlib
import itertools
import shlex
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import charnn
from charnn.cli.commands.train_find_lr import find_learning_rate
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.output.progress_line import ProgressLine
from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.errors import LostRankError, OptionError
from charnn.interrupts import deferred_interrupts, terminated_like_interrupted
from charnn.options import refuse_both

if TYPE_CHECKING:
    from charnn.recipes import Recipe
    from charnn.storage.run_config import RunConfig
    from charnn.training.events import Stopped
    from charnn.training.run.request import RunRequest
    from charnn.training.run.session import Session

SHOWN_DIGIT = 1e-4
"""The last digit of losses that are shown."""


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
        COMMON,
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model."), COMMON] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run from its last checkpoint."), COMMON] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Take options from a recipe (charnn recipes lists them) or a .toml file; other options override it.",
        ),
        COMMON,
    ] = None,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr",
            help="LR range test: try learning rates from low to high and plot the losses; no model is kept.",
        ),
    ] = False,
    *,
    overrides: Overrides,
) -> None:
    """Train a model on text: charnn train book.txt."""
    started = time.monotonic()
    keeps_no_model = find_lr and (resume or overwrite or output is not None)
    refuse_both("--find-lr", keeps_no_model, "--resume, --overwrite or -o (it keeps no model)")
    refuse_both("--find-lr", find_lr and "learning_rate" in overrides, "--learning-rate (it tries many)")
    refuse_both(
        "--find-lr", find_lr and overrides.get("direction") == "both", "--direction both (it trains one network)"
    )
    directory = _directory(output, texts, resume=resume)
    request = charnn.api.make_request(
        directory,
        texts or [],
        overrides,
        recipe=None if recipe is None else charnn.api.load_recipe(recipe),
        overwrite=overwrite,
        resume=resume,
    )
    if charnn.api.is_follower():
        if not find_lr:
            _follow()
        return
    if texts and not request.resume:
        valid = request.text_options.valid
        charnn.api.check_exist([*texts, valid] if valid else texts)
        if not find_lr:
            charnn.api.check_available(directory, overwrite=overwrite)  # again later; here, before torch is loaded
        if request.text_options.column is None:
            charnn.api.note_table(texts, request.text_options.encoding)
        console.notice(f"reading {', '.join(map(charnn.api.display_name, texts))}")
    if find_lr:
        with terminated_like_interrupted():
            find_learning_rate(request, started=started)
        return
    from charnn.cli.output.training_screen import open_screen  # loads rich's live display

    with contextlib.closing(_networks(request, started)) as networks:
        for session in networks:
            stopped = None
            with deferred_interrupts() as interruption, open_screen(session) as screen:
                events = charnn.api.run(
                    session, should_stop=lambda: interruption() is not None, write_sample=charnn.api.short_sample
                )
                for event in events:
                    screen.show(event)
                    stopped = event if isinstance(event, charnn.api.Stopped) else stopped
                signal_number = interruption()
            _show_outcome(session, stopped, signal_number)


def _follow() -> None:
    """Take part in a run that another process leads, which reports it. Raises Exit if it failed."""
    try:
        with deferred_interrupts() as interruption:
            charnn.api.follow(lambda: interruption() is not None)
    except LostRankError as error:
        if error.is_reported or error.rank != 1:
            raise typer.Exit(1) from error
        console.speak_again()  # for all that are left
        raise


def _directory(output: str | None, texts: list[str] | None, *, resume: bool) -> Path:
    """Return the run's directory."""
    if not texts and not resume:
        raise OptionError("TEXT: found none; name the text to train on: charnn train book.txt")
    if output is not None:
        if not Path(output).name:
            raise OptionError(
                f"-o: found {output!r}, but a run needs a directory of its own; name one such as runs/mine"
            )
        return Path(output)
    if texts:
        return charnn.api.default_directory(texts[0])
    directory = charnn.api.find_model(None)
    console.notice(f"resuming the newest run, {directory}")
    return directory


def _networks(request: "RunRequest", started: float) -> "Generator[Session, None, None]":
    """Yield each network of a run, to be trained before the next is requested."""
    with ProgressLine() as line:
        networks = charnn.api.networks(request, started=started, report=line.show)
        with contextlib.closing(networks):
            kept = "nothing was changed"
            for number in itertools.count():
                with _interruptible_reading(kept):
                    session = next(networks, None)
                if session is None:
                    return
                if number == 0 and request.recipe is not None and request.recipe.needs_gpu:
                    _warn_of_size(request.recipe, session)
                yield session
                kept = f"resume with: charnn train --resume -o {shlex.quote(str(request.directory))}"


def _warn_of_size(recipe: "Recipe", session: "Session") -> None:
    """Tell the user how long a recipe for GPUs takes on a CPU."""
    plan, training = session.config.plan, session.config.training
    if plan.device != "cpu":
        return
    speed, epochs = plan.training_tokens_per_second, training.epochs
    assert speed is not None
    lasts = ""
    if epochs and not training.minutes and not training.steps:
        minutes = epochs * session.config.corpus.train.num_tokens / speed / 60
        time_taken = f"{minutes / 60:,.1f} hours" if minutes >= 60 else f"{minutes:.1f} minutes"
        lasts = f", so {epochs:g} epochs of this text take about {time_taken}; --minutes limits the time"
    console.notice(
        f"recipe {recipe.name} was made for a GPU: this CPU trains on about {speed:,} tokens/s{lasts}; "
        "a smaller --hidden-size and --embedding-size are faster"
    )


@contextlib.contextmanager
def _interruptible_reading(kept: str) -> Iterator[None]:
    """Clean up, and show a notice, if the command is interrupted before training begins.

    Args:
        kept: the part of the notice that says what is on disk.
    """
    try:
        with terminated_like_interrupted():
            yield
    except KeyboardInterrupt:
        console.notice(f"interrupted before training began; {kept}")
        raise


def _show_outcome(session: "Session", stopped: "Stopped | None", signal_number: int | None) -> None:
    """Say how training ended and what to do next. Raises Exit where it was interrupted."""
    directory = session.directory
    run_directory = charnn.api.directory_of_run(directory, session.config)
    if stopped is not None and stopped.reason == "interrupted":
        resuming = f"charnn train --resume -o {shlex.quote(str(run_directory))}"
        console.notice(f"interrupted and saved at step {stopped.step:,}; resume with: {resuming}")
        raise typer.Exit(128 + (signal_number or signal.SIGINT))
    results = session.config.results
    if stopped is not None and stopped.reason == "patience":
        console.notice(f"stopped early at step {stopped.step:,}: validation no longer improved (--patience)")
    if not results.steps:
        console.notice(
            "the budget was spent before the first step: the model is untrained; "
            f"train it with --minutes {charnn.api.minutes_to_learn(session):g} or more"
        )
    console.notice(
        f"{directory}: trained for {results.seconds:.0f} s, {results.steps:,} steps; {_best_loss(session.config)}"
    )
    if results.old_loss_before_nats is not None and results.old_loss_nats is not None:
        console.notice(
            f"on held-out text of {session.config.training.init_from}: {results.old_loss_before_nats:.4f} before, "
            f"{results.old_loss_nats:.4f} nats per token now"
        )
    if results.mixture_loss_nats is not None and results.ngram_loss_nats is not None:
        alone = {"network": results.valid_loss_nats, "n-gram model": results.ngram_loss_nats}
        better = [
            name
            for name, loss in alone.items()
            if loss is not None and results.mixture_loss_nats > loss + SHOWN_DIGIT / 2
        ]
        worse = f": worse than the {' and the '.join(better)} alone" if better else ""
        console.notice(
            f"{results.ngram_order}-gram model alone {results.ngram_loss_nats:.4f}, interpolated with the network "
            f"{results.mixture_loss_nats:.4f} nats per token (--mix-ngram){worse}"
        )
    if results.steps:
        console.notice(_next_command(session, run_directory))


def _best_loss(config: "RunConfig") -> str:
    """Describe the validation loss, with its 95 % confidence interval and the part of the held-out text that was read."""
    results, num_valid = config.results, config.corpus.valid.num_tokens
    if results.valid_loss_nats is None:
        return "nothing was held out"
    margin = "" if results.valid_margin_nats is None else f" ± {results.valid_margin_nats:.4f}"
    part = (
        ""
        if results.valid_num_tokens == num_valid
        else f", on {results.valid_num_tokens:,} of {num_valid:,} held-out tokens"
    )
    return (
        f"best validation loss {results.valid_loss_nats:.4f}{margin} nats per token at step {results.best_step:,}{part}"
    )


def _next_command(session: "Session", run_directory: Path) -> str:
    """Return the command to try next with a trained model."""
    network, run = shlex.quote(str(session.directory)), shlex.quote(str(run_directory))
    if session.architecture.direction == "forward":
        return f"sample from it: charnn sample -m {network}"
    if run == network:
        return f"predict the token before a text: charnn predict TEXT -m {network}"
    return f'predict a missing token: charnn predict "text with ____ in it" -m {run}'
