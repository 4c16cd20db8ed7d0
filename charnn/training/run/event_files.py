"""Event files for TensorBoard, written by its own writer from the events of training."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charnn.errors import OptionError
from charnn.notices import notice_logger
from charnn.training.events import Evaluated, Event, Progressed, RolledBack

logger = notice_logger(__name__)

PACKAGE = "tensorboard"


def check_installed(log: str | None) -> None:
    """Check that the package for `--log` is installed, before any work is done. Raises OptionError."""
    if log == "tensorboard" and importlib.util.find_spec(PACKAGE) is None:
        raise OptionError(
            "--log tensorboard: tensorboard is not installed; in the clone, run pip install -e '.[tensorboard]'"
        )


@contextmanager
def logging_to(log: str | None, directory: Path, step: int) -> Iterator[Callable[[Event], None]]:
    """Yield a function that logs events in the format of `--log`; it does nothing for None.

    Args:
        log: the format.
        directory: of the run.
        step: of the checkpoint from which training continues, after which older files are not read; 0 for a new run.
    """
    if log is None:
        yield lambda event: None  # noqa: ARG005
        return
    files = EventFiles(directory, step)
    try:
        yield files.write
    finally:
        files.close()


class EventFiles:
    """Writes events; if that fails, it says so once and writes no more, since training must not end for it.

    Args:
        directory: of the run.
        step: see `logging_to`.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self._directory = directory
        self._writer: Any = None
        self._attempt(lambda: self._open(step))

    def write(self, event: Event) -> None:
        """Log an event."""
        if isinstance(event, RolledBack):
            self._attempt(lambda: self._open(event.to_step))
        elif self._writer is not None:
            self._attempt(lambda: self._add(event))

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._attempt(self._writer.close)

    def _open(self, step: int) -> None:
        """Open a new file, before which no later step counts."""
        if self._writer is not None:
            self._writer.close()
        summary_writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = summary_writer(str(self._directory), purge_step=step + 1 if step else None)

    def _add(self, event: Event) -> None:
        if isinstance(event, Progressed):
            for name, value in (
                ("train/loss", event.loss_nats),
                ("train/learning_rate", event.learning_rate),
                ("train/gradient_norm", event.gradient_norm),
                ("train/tokens_per_second", event.tokens_per_second),
            ):
                self._writer.add_scalar(name, value, event.step)
        if isinstance(event, Evaluated):
            for name, loss in (("valid/loss", event.valid_loss_nats), ("valid/old_loss", event.old_loss_nats)):
                if loss is not None:
                    self._writer.add_scalar(name, loss, event.step)
            if event.sample is not None:
                self._writer.add_text("sample", as_markdown(event.sample), event.step)
            self._writer.flush()

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._writer = None
            logger.info(
                f"{self._directory}: event files cannot be written ({error.strerror or error}); no more are written"
            )


def as_markdown(text: str) -> str:
    """Return a text as a code block, since TensorBoard shows texts as Markdown."""
    return "\n".join(f"    {line}" for line in text.split("\n"))
