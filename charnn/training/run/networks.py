"""The networks of a run, one after the other: one, or the two of a bidirectional model."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.config.compatibility import merge_recipe
from charnn.errors import OptionError, StorageError
from charnn.files import portable_name
from charnn.notices import notice_logger
from charnn.options import pick
from charnn.recipes import Recipe
from charnn.storage.locking import exclusive
from charnn.storage.model_directory import BACKWARD, DEFAULT_ROOT, is_model, read_config
from charnn.text.progress import Report
from charnn.training.run.bidirectional import half_of_budget, is_finished, is_forward_half, with_a_budget
from charnn.training.run.create import begin, begin_backward
from charnn.training.run.resume import go_on
from charnn.training.run.session import Session

logger = notice_logger(__name__)


@dataclass(frozen=True)
class RunRequest:
    """A run to begin, or to go on with; see `make_request`.

    Args:
        directory: of the run.
        texts: what to learn from (see `find_sources`).
        overrides: the options that were given, by field name.
        text_options, model_options, training_options: all of them; of a bidirectional model each network's.
        recipe: what some of them come from.
        overwrite: replace a model that lies there.
        resume: go on where the run stopped.
    """

    directory: Path
    texts: Sequence[str]
    overrides: dict[str, Any]
    text_options: TextOptions
    model_options: ModelOptions
    training_options: TrainingOptions
    recipe: Recipe | None = None
    overwrite: bool = False
    resume: bool = False


def make_request(
    directory: Path,
    texts: Sequence[str],
    overrides: dict[str, Any],
    *,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> RunRequest:
    """Return what a run is to be.

    Args:
        overrides: options by field name; others are the recipe's, or keep their defaults.

    Raises:
        OptionError: for options out of bounds, or that do not go together.
    """
    options = overrides
    if recipe is not None:
        options, left_out = merge_recipe(recipe.options, overrides)
        if left_out:
            logger.info(f"recipe {recipe.name}: left out {', '.join(left_out)}, idle beside the options given")
    text_options, model_options = pick(TextOptions, options), pick(ModelOptions, options)
    if model_options.direction == "both" and not resume:
        options = half_of_budget(with_a_budget(options))
    training_options = pick(TrainingOptions, options)
    return RunRequest(
        directory, texts, overrides, text_options, model_options, training_options, recipe, overwrite, resume
    )


def default_directory(text: str) -> Path:
    """Return where the model of a text lies where nothing else is said: `runs/` and the name of the file."""
    name = "stdin" if text == "-" else Path(text.rstrip("/")).name.removesuffix(".gz")
    return DEFAULT_ROOT / (portable_name(Path(name).stem.replace("*", "all")) or "text")


def networks(request: RunRequest, *, started: float, report: Report | None = None) -> Generator[Session, None, None]:
    """Yield each network of a run, which must be trained (see `charnn.training.run.session.run`) before the next is asked for.

    The run's directory is locked until the last is done, or the iterator is closed.

    Args:
        started: `time.monotonic()` from which the first one's time budget counts.
        report: told how far the reading of a text has come.

    Raises:
        CharnnError: for anything wrong with the request; the directory is then as it was.
    """
    with exclusive(request.directory):
        if request.resume:
            yield from _resumed(request, started)
        else:
            yield from _begun(request, started, report)


def _begun(request: RunRequest, started: float, report: Report | None) -> Generator[Session, None, None]:
    yield begin(
        request.directory,
        request.texts,
        text_options=request.text_options,
        model_options=request.model_options,
        training_options=request.training_options,
        overwrite=request.overwrite,
        started=started,
        report=report,
        recipe=None if request.recipe is None else request.recipe.name,
    )
    if request.model_options.direction == "both":
        yield _backward_begun(request.directory)


def _resumed(request: RunRequest, started: float) -> Generator[Session, None, None]:
    directory, overrides = request.directory, request.overrides
    pair = is_model(directory) and is_forward_half(read_config(directory))
    if pair and overrides.get("direction") not in (None, "both"):
        raise OptionError(
            f"--direction: found {overrides['direction']}, but the run to resume was begun with both; leave it out"
        )
    overrides = half_of_budget(overrides) if pair else overrides
    if not pair or not is_finished(read_config(directory), overrides):
        yield go_on(directory, overrides, started=started)
    if not pair:
        return
    backward = directory / BACKWARD
    if is_model(backward):
        yield go_on(backward, overrides, started=time.monotonic())
    else:
        yield _backward_begun(directory)


def _backward_begun(directory: Path) -> Session:
    """Begin the half of a bidirectional model that reads from right to left."""
    logger.info("and now from right to left")
    try:
        return begin_backward(directory, started=time.monotonic())
    except StorageError as error:
        advice = f"the forward half is whole; go on with: charnn train --resume -o {directory}"
        raise StorageError(f"{error}; {advice}") from error
