"""The networks of a run, one after the other: one, or the two of a bidirectional model."""

import shlex
import time
from collections.abc import Generator
from pathlib import Path

from charnn.errors import OptionError, StorageError
from charnn.notices import notice_logger
from charnn.storage.locking import exclusive
from charnn.storage.model_directory import is_model, read_config
from charnn.storage.run_files import BACKWARD, resuming_files
from charnn.text.progress import Report
from charnn.training.run.bidirectional import half_of_budget, is_finished, is_forward_half
from charnn.training.run.create import create_backward_half, create_run
from charnn.training.run.following import connected_ranks, led
from charnn.training.run.request import RunRequest
from charnn.training.run.resume import resume_run
from charnn.training.run.same_text import check_same_text
from charnn.training.run.session import Session

logger = notice_logger(__name__)


def networks(request: RunRequest, *, started: float, report: Report | None = None) -> Generator[Session, None, None]:
    """Yield each network of a run; train it (see `charnn.training.run.session.run`) before requesting the next one.

    The directory of the run is locked until the iterator is exhausted or closed. If this process is the first of several ranks
    (torchrun), the others must call `charnn.training.run.following.follow`.

    Args:
        request: see `make_request`.
        started: `time.monotonic()` from which the time budget of the first network counts.
        report: called with the progress of reading the text.

    Raises:
        CharnnError: for anything wrong with the request; the directory is then as it was.
    """
    with exclusive(request.directory), connected_ranks() as ranks:
        if request.is_restart and _is_complete(request.directory):
            sessions = _none()
        elif request.resume:
            sessions = _resumed_networks(request, started)
        else:
            sessions = _new_networks(request, started, report)
        yield from sessions if ranks is None else led(sessions, ranks)
        _slim_down(request.directory)


def _none() -> Generator[Session, None, None]:
    yield from ()


def _is_complete(directory: Path) -> bool:
    """Return whether all networks of a run are trained."""
    config = read_config(directory)
    halves = [directory, directory / BACKWARD] if is_forward_half(config) else [directory]
    return all(is_model(half) and read_config(half).results.is_finished for half in halves)


def _slim_down(directory: Path) -> None:
    """Delete what only resuming needs, if `--slim` asks for it and training has finished."""
    halves = [half for half in (directory, directory / BACKWARD) if is_model(half)]
    configs = [read_config(half) for half in halves]
    if all(config.training.slim and config.results.is_finished for config in configs):
        for half in halves:
            for file in resuming_files(half):
                file.unlink(missing_ok=True)


def _new_networks(request: RunRequest, started: float, report: Report | None) -> Generator[Session, None, None]:
    is_bidirectional = request.model_options.direction == "both"
    session = create_run(
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
    # Both halves need the set-up of the first, so each is charged half of it and trains for the same time.
    shared_seconds = (time.monotonic() - started) / 2 if is_bidirectional else 0.0
    session.trainer.started += shared_seconds
    yield session
    if is_bidirectional:
        yield _create_backward_half(request.directory, time.monotonic() - shared_seconds)


def _resumed_networks(request: RunRequest, started: float) -> Generator[Session, None, None]:
    directory, overrides = request.directory, request.overrides
    if is_model(directory) and (request.texts or request.text_options.valid):
        check_same_text(directory, read_config(directory), request.texts, request.text_options.valid)
        if request.texts and not request.is_restart:
            logger.info("TEXT is not read again: a resumed run keeps its original text")
    is_bidirectional = is_model(directory) and is_forward_half(read_config(directory))
    if is_bidirectional and overrides.get("direction") not in (None, "both"):
        raise OptionError(
            f"--direction: found {overrides['direction']}, but the run to resume was started with both; leave it out"
        )
    overrides = half_of_budget(overrides) if is_bidirectional else overrides
    if not is_bidirectional or not is_finished(read_config(directory), overrides):
        yield resume_run(directory, overrides, started=started)
    if not is_bidirectional:
        return
    backward = directory / BACKWARD
    if is_model(backward):
        yield resume_run(backward, overrides, started=time.monotonic())
    else:
        yield _create_backward_half(directory, time.monotonic())


def _create_backward_half(directory: Path, started: float) -> Session:
    """Create the backward half of a bidirectional model; `started` as for `create_backward_half`."""
    logger.info("now training the backward half, from right to left")
    try:
        return create_backward_half(directory, started=started)
    except StorageError as error:
        advice = f"the forward half is saved; resume with: charnn train --resume -o {shlex.quote(str(directory))}"
        raise StorageError(f"{error}; {advice}") from error
