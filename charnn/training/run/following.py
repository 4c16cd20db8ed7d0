"""Ranks of a run: the first one leads the others, which follow it through each of the run's networks."""

import contextlib
import shlex
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import torch

from charnn.errors import CharnnError, LostRankError, TrainingError
from charnn.files import JsonObject
from charnn.launch import Launch, launch
from charnn.notices import notice_logger
from charnn.storage.checkpoint import FORMAT_VERSION
from charnn.storage.model_directory import read_model
from charnn.storage.run_config import RunConfig
from charnn.training.learner import Learner
from charnn.training.parallel.groups import MIN_BATCH_SIZES_FOR_GROUPS, MIN_LANES_FOR_GROUPS, group_bounds
from charnn.training.parallel.ranks import Ranks
from charnn.training.planning.memory import memory_kept
from charnn.training.position import TrainingPosition
from charnn.training.run.bidirectional import directory_of_run
from charnn.training.run.session import Session, make_session

logger = notice_logger(__name__)


@contextlib.contextmanager
def connected_ranks(should_stop: Callable[[], bool] = lambda: False) -> Iterator[Ranks | None]:
    """Connect this process with the other ranks of its job; None if it is the only one.

    Args:
        should_stop: called while this process waits for the others; if it returns True, it waits no longer.
    """
    place = launch()
    if place is None or place.size == 1:
        yield None
        return
    _use_own_gpu(place)
    with Ranks(place, should_stop) as ranks:
        yield ranks


def _use_own_gpu(place: Launch) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())


def led(sessions: Generator[Session, None, None], ranks: Ranks) -> Generator[Session, None, None]:
    """Yield the sessions of a run, each while the other ranks follow its training.

    Args:
        sessions: the networks of the run.
        ranks: of which this process is the first.
    """
    session, is_complete = None, False
    try:
        for session in sessions:
            _report_idle(session, ranks)
            ranks.tell({"directory": str(session.directory.resolve()), "config": _content(session.config)})
            _join(session.trainer.learner, session.config, ranks)
            yield session
            session.trainer.learner.end()
            session = None
        is_complete = True
    except GeneratorExit:
        is_complete = session is not None and session.config.results.stopped is not None
        raise
    finally:
        with contextlib.suppress(LostRankError):
            if not is_complete:
                ranks.report_failure("rank 0 failed")
            if session is not None:
                session.trainer.learner.end()
            ranks.tell({"failed": not is_complete})


def follow(should_stop: Callable[[], bool]) -> None:
    """Follow rank 0 through a run: take a share of each of its steps.

    Args:
        should_stop: called before each step; if it returns True, rank 0 is asked to stop the run.

    Raises:
        LostRankError: if another rank failed.
    """
    with connected_ranks(should_stop) as ranks:
        assert ranks is not None
        told: JsonObject = {}
        try:
            while "directory" in (told := ranks.tell()):
                session = _opened(Path(told["directory"]), RunConfig.from_json(told["config"], "config of rank 0"))
                with memory_kept(trim=False), contextlib.closing(session.trainer.learner) as learner:
                    _join(learner, session.config, ranks)
                    learner.follow(session.trainer.batches, session.trainer.noise, should_stop)
        except LostRankError as error:
            raise LostRankError(f"{error}{_resuming(told)}", ranks.index, is_reported=error.is_reported) from error
        except (CharnnError, RuntimeError, MemoryError, OSError) as error:
            message = f"rank {ranks.index} ({socket.gethostname()}): {error}"
            ranks.report_failure(message)
            raise LostRankError(message, ranks.index, is_reported=True) from error
    if told["failed"]:
        raise LostRankError("rank 0 failed", ranks.index, is_reported=True)


def _resuming(told: JsonObject) -> str:
    """Return how to resume the run that rank 0 told of, if any."""
    if "directory" not in told:
        return ""
    directory, config = Path(told["directory"]), RunConfig.from_json(told["config"], "config of rank 0")
    return f"; resume with: charnn train --resume -o {shlex.quote(str(directory_of_run(directory, config)))}"


def _join(learner: Learner, config: RunConfig, ranks: Ranks) -> None:
    if config.plan.device == "cuda":
        ranks.use_gpus()
    learner.join(ranks)


def _content(config: RunConfig) -> dict[str, object]:
    return {"format_version": FORMAT_VERSION, "generation": 0, **config.to_json()}


def _opened(directory: Path, config: RunConfig) -> Session:
    """Return a session on the text of a run whose directory rank 0 wrote."""
    if not directory.is_dir():
        raise TrainingError(
            f"{directory}: not found on this machine; put the run (-o) on a file system that all machines share"
        )
    if config.plan.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("found no GPU, but rank 0 has one; start all ranks on GPUs, or use --device cpu")
    return make_session(directory, config, read_model(directory).tokenizer, TrainingPosition(), started=0.0)


def _report_idle(session: Session, ranks: Ranks) -> None:
    """Log which ranks have nothing to do."""
    batch_size, device = session.config.training.batch_size, session.config.plan.device
    assert batch_size is not None
    num_groups = len(group_bounds(batch_size, batch_size, device=device, num_ranks=ranks.size))
    if num_groups < ranks.size:
        idle = ranks.size - num_groups
        sizes = (*MIN_LANES_FOR_GROUPS, *MIN_BATCH_SIZES_FOR_GROUPS)
        larger = [size for size in sizes if len(group_bounds(size, size)) >= ranks.size] or sizes[-1:]
        logger.info(
            f"a batch of {batch_size} rows is divided into {num_groups} groups, so {idle} of {ranks.size} processes "
            f"{'has' if idle == 1 else 'have'} nothing to do; use {num_groups} processes, or for a new run "
            f"--batch-size {larger[0]}"
        )
