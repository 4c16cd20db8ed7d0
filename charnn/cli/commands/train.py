"""`charnn train`: text in, a model directory out."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.cli.commands.train_find_lr import find_learning_rate
from charnn.cli.options import COMMON, Given, with_options
from charnn.cli.output import console
from charnn.cli.output.interrupts import noted_interrupts, terminated_like_interrupted
from charnn.cli.output.progress_line import ProgressLine
from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.errors import OptionError, StorageError
from charnn.files import portable_name
from charnn.options import pick, refuse_both

if TYPE_CHECKING:
    from charnn.recipes import Recipe
    from charnn.training.run.run import Session

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
        COMMON,
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model."), COMMON] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run from its last checkpoint."), COMMON] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Take options from a recipe (charnn recipes lists them) or a .toml file; others override.",
        ),
        COMMON,
    ] = None,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr", help="LR range test: try learning rates from low to high, show the losses, keep no model."
        ),
    ] = False,
    *,
    given: Given,
) -> None:
    """Train a model on text: charnn train book.txt."""
    started = time.monotonic()
    keeps_no_model = find_lr and (resume or overwrite or output is not None)
    refuse_both("--find-lr", keeps_no_model, "--resume, --overwrite or -o (it keeps no model)")
    refuse_both("--find-lr", find_lr and "learning_rate" in given, "--learning-rate (it tries many)")
    refuse_both("--find-lr", find_lr and given.get("direction") == "both", "--direction both (it trains one network)")
    refuse_both("--resume", resume and overwrite, "--overwrite")
    refuse_both("--recipe", resume and recipe is not None, "--resume (a run goes on with its own options)")
    if not texts and not resume:
        raise OptionError("TEXT: found none; name the text to learn from: charnn train book.txt")
    directory = Path(output) if output is not None else _default_directory(texts)
    if not directory.name:
        raise OptionError(f"-o: found {output!r}, but a run needs a directory of its own; name one such as runs/mine")
    from charnn.training.run.bidirectional import half_of_budget, with_a_budget

    settings = _read_recipe(recipe)
    if settings is not None:
        given = _settled(settings, given)
    text_options = pick(TextOptions, given)
    model_options = pick(ModelOptions, given)
    if model_options.direction == "both" and not resume:
        given = half_of_budget(with_a_budget(given))
    training_options = pick(TrainingOptions, given)

    if texts and not resume:
        console.notice(f"reading {', '.join(texts)}")

    if find_lr:
        with terminated_like_interrupted():
            find_learning_rate(texts or [], text_options, model_options, training_options, started=started)
        return

    from charnn.storage.locking import exclusive
    from charnn.training.run.create import begin

    if resume and texts:
        console.notice("TEXT is not read again: a run goes on with the text that it was begun with")
    with exclusive(directory):
        if resume:
            _go_on(directory, given, started)
            return
        with _interruptible_reading(), ProgressLine() as line:
            session = begin(
                directory,
                texts or [],
                text_options=text_options,
                model_options=model_options,
                training_options=training_options,
                overwrite=overwrite,
                started=started,
                notify=line.notice,
                report=line.show,
                recipe=None if settings is None else settings.name,
            )
        if settings is not None and settings.needs_gpu:
            _warn_of_size(settings, session)
        _train(session)
        if model_options.direction == "both":
            _train_backward(directory)


def _read_recipe(given: str | None) -> "Recipe | None":
    from charnn.recipes import load_recipe

    return None if given is None else load_recipe(given)


def _settled(recipe: "Recipe", given: Given) -> Given:
    """Return a recipe's options with those of the user, and say which of the recipe's were left out."""
    from charnn.config.compatibility import settle

    options, left_out = settle(recipe.options, given)
    if left_out:
        console.notice(f"recipe {recipe.name}: left out {', '.join(left_out)}, idle beside the options given")
    return options


def _warn_of_size(recipe: "Recipe", session: "Session") -> None:
    """Say what a recipe that was made for a GPU takes without one."""
    plan, training = session.config["plan"], session.config["options"]["training"]
    if plan["device"] != "cpu":
        return
    speed, epochs = plan["training_tokens_per_second"], training["epochs"]
    lasts = ""
    if epochs and not training["minutes"] and not training["steps"]:
        minutes = epochs * session.config["corpus"]["train"]["num_tokens"] / speed / 60
        time_taken = f"{minutes / 60:,.1f} hours" if minutes >= 60 else f"{minutes:.1f} minutes"
        lasts = f", and {epochs:g} epochs of this text take about {time_taken}; --minutes ends it sooner"
    console.notice(
        f"recipe {recipe.name} was made for a GPU: this processor reads about {speed:,} tokens/s{lasts}; "
        "a smaller --hidden-size and --embedding-size are quicker"
    )


def _go_on(directory: Path, given: Given, started: float) -> None:
    """Go on with a run, or with that half of a pair which is not finished."""
    from charnn.storage.model_directory import BACKWARD, is_model, read_config
    from charnn.training.run.bidirectional import half_of_budget, is_finished, is_pair
    from charnn.training.run.resume import go_on

    pair = is_model(directory) and is_pair(read_config(directory))
    if pair and given.get("direction") not in (None, "both"):
        raise OptionError(
            f"--direction: found {given['direction']}, but the run to resume was begun with both; leave it out"
        )
    given = half_of_budget(given) if pair else given
    if not pair or not is_finished(read_config(directory), given):
        with _interruptible_reading():
            session = go_on(directory, given, started=started, notify=console.notice)
        _train(session)
    if not pair:
        return
    backward = directory / BACKWARD
    if not is_model(backward):
        _train_backward(directory)
        return
    with _interruptible_reading():
        session = go_on(backward, given, started=time.monotonic(), notify=console.notice)
    _train(session)


def _train_backward(directory: Path) -> None:
    """Train the half of a pair that reads from right to left."""
    from charnn.training.run.create import begin_backward

    console.notice("and now from right to left")
    with _interruptible_reading(f"go on with: charnn train --resume -o {directory}"):
        try:
            session = begin_backward(directory, started=time.monotonic(), notify=console.notice)
        except StorageError as error:
            advice = f"the forward half is whole; go on with: charnn train --resume -o {directory}"
            raise StorageError(f"{error}; {advice}") from error
    _train(session)


@contextlib.contextmanager
def _interruptible_reading(kept: str = "nothing was changed") -> Iterator[None]:
    """Clean up and say so when the command is ended before training has begun.

    Args:
        kept: what there is then.
    """

    try:
        with terminated_like_interrupted():
            yield
    except KeyboardInterrupt:
        console.notice(f"interrupted before training began; {kept}")
        raise


def _default_directory(texts: list[str] | None) -> Path:
    from charnn.storage.model_directory import DEFAULT_ROOT, find_model

    if not texts:
        directory = find_model(None)
        console.notice(f"going on with the newest run, {directory}")
        return directory
    name = "stdin" if texts[0] == "-" else Path(texts[0].rstrip("/")).name.removesuffix(".gz")
    return DEFAULT_ROOT / (portable_name(Path(name).stem.replace("*", "all")) or "text")


def _train(session: "Session") -> None:
    from charnn.cli.output.training_screen import open_screen
    from charnn.training.events import Evaluated, Stopped
    from charnn.training.run.bidirectional import directory_of_run
    from charnn.training.run.create import minutes_to_learn
    from charnn.training.run.run import run

    stopped = None
    with noted_interrupts() as interruption, open_screen(session) as screen:
        for event in run(session, should_stop=lambda: interruption() is not None):
            screen.show(event)
            if isinstance(event, Evaluated):
                screen.show_sample(_short_sample(session), event.step)
            if isinstance(event, Stopped):
                stopped = event
        signal_number = interruption()
    directory = session.directory
    run_directory = directory_of_run(directory, session.config)
    if stopped is not None and stopped.reason == "interrupted":
        console.notice(
            f"interrupted and saved at step {stopped.step:,}; go on with: charnn train --resume -o {run_directory}"
        )
        raise typer.Exit(128 + (signal_number or signal.SIGINT))
    results = session.config["results"]
    if stopped is not None and stopped.reason == "patience":
        console.notice(f"stopped early at step {stopped.step:,}: validation no longer improved (--patience)")
    if not results["steps"]:
        console.notice(
            "the budget was spent before the first step: the model has learned nothing; "
            f"give it --minutes {minutes_to_learn(session):g} or more"
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
        console.notice(_next_command(session, run_directory))


def _next_command(session: "Session", run_directory: Path) -> str:
    """Say what to do with a trained model."""
    if session.architecture.direction == "forward":
        return f"write with it: charnn sample -m {session.directory}"
    if run_directory == session.directory:
        return f"ask what comes before: charnn predict TEXT -m {session.directory}"
    return f'ask both for a blank: charnn predict "text with ____ in it" -m {run_directory}'


def _short_sample(session: "Session") -> str:
    import numpy as np

    from charnn.config import SampleOptions
    from charnn.inference.engine import Engine
    from charnn.sampling.sampler import write_sample

    model = session.model()
    if not all(np.isfinite(array).all() for array in model.weights.values()):
        return ""
    options = SampleOptions(length=SAMPLE_LENGTH, temperature=0.8)
    with np.errstate(over="ignore", invalid="ignore"):  # where training fails, what it writes makes no sense either
        sample = write_sample(Engine.of(model), model.tokenizer, options, seed=session.config["seed"])
    if model.architecture.direction == "forward":
        return sample.text
    decoder = model.tokenizer.decoder()
    return "".join(decoder.push(id) for id in reversed(sample.ids)) + decoder.flush()
