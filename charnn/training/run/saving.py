"""Saving in a run of days: a disk that is full, or not there for a while, postpones checkpoints and does not end training."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from charnn.errors import StorageError
from charnn.files import explain_write_errors
from charnn.storage.model_directory import is_model
from charnn.training.events import Event, SaveFailed, event_json

FINAL_WAIT_SECONDS, FINAL_INTERVAL_SECONDS = 3600.0, 10.0
"""At the end of training, saving is tried for so long, and so often."""
REPEAT_SECONDS = 600.0
"""A failure that lasts is reported again after this time."""
POLL_SECONDS = 0.1


@dataclass
class Saving:
    """What could not be written yet in a directory, and when that was last reported.

    Args:
        directory: of the run.
        lines: lines of `metrics.jsonl`.
        reported_at: `time.monotonic()` of the last report; None if the last attempt to save succeeded.
    """

    directory: Path
    lines: list[str] = field(default_factory=list)
    reported_at: float | None = None

    def attempt(self, write: Callable[[], None], step: int, advice: str) -> SaveFailed | None:
        """Try to write; return a failure that is to be reported.

        Raises:
            StorageError: if the directory no longer contains a model, so that a later attempt would not succeed.
        """
        try:
            write()
        except StorageError as error:
            if not is_model(self.directory):
                raise
            now = time.monotonic()
            if self.reported_at is not None and now - self.reported_at < REPEAT_SECONDS:
                return None
            self.reported_at = now
            reason = str(error).replace(" and run the command again", "")
            return SaveFailed(step, f"step {step:,}: {reason}; {advice}")
        self.reported_at = None
        return None

    def append(self, event: Event) -> None:
        """Append an event to `metrics.jsonl`, and those that could not be written before; they are kept if that fails again.

        Raises:
            StorageError: if the directory no longer contains a model.
        """
        self.lines.append(json.dumps({**event_json(event), "time": round(time.time(), 3)}) + "\n")
        try:
            _append(self.directory / "metrics.jsonl", "".join(self.lines))
        except StorageError:
            if not is_model(self.directory):
                raise
        else:
            self.lines.clear()

    def finish(self, write: Callable[[], None], step: int, should_stop: Callable[[], bool]) -> Iterator[SaveFailed]:
        """Write at the end of training; if that fails, try again until it succeeds, and yield failures to be reported.

        Args:
            write: writes the files.
            step: the last step.
            should_stop: ends the attempts when it returns True.

        Raises:
            StorageError: if it fails for `FINAL_WAIT_SECONDS`.
        """
        deadline = time.monotonic() + FINAL_WAIT_SECONDS
        advice = f"trying again for {FINAL_WAIT_SECONDS / 60:.0f} minutes"
        while time.monotonic() < deadline and not should_stop():
            failure = self.attempt(write, step, advice)
            if self.reported_at is None:
                return
            if failure is not None:
                yield failure
            _wait(FINAL_INTERVAL_SECONDS, should_stop)
        write()


def _wait(seconds: float, should_stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not should_stop():
        time.sleep(POLL_SECONDS)


def _append(path: Path, text: str) -> None:
    """Append text to a file, all or nothing. Raises StorageError."""
    with explain_write_errors(path):
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            with contextlib.suppress(OSError):  # the first error is reported
                os.truncate(path, size)
            raise
