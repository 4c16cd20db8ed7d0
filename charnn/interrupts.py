"""Signals that interrupt a command: Ctrl-C, termination by the system, a closed terminal, the warning of a batch system."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

INTERRUPTS: tuple[int, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGBREAK") if hasattr(signal, name)
)
"""SIGUSR1 is what Slurm sends before the end of a job (`--signal=USR1@120`). Windows has neither it nor SIGHUP; only Windows
has SIGBREAK (Ctrl-Break)."""

Handler = Callable[[int, FrameType | None], None]


class Interrupted(KeyboardInterrupt):
    """A signal ended the work: Ctrl-C, or one that ends a program.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def signal_of(error: KeyboardInterrupt) -> int:
    """Return the number of the signal that raised an exception."""
    return error.number if isinstance(error, Interrupted) else signal.SIGINT


@contextlib.contextmanager
def handled_by(handler: Handler) -> Iterator[None]:
    """Handle the signals that interrupt a command with a function while the block runs.

    Has no effect outside the main thread, which alone can set handlers. Signals that are ignored (`nohup`) stay ignored.
    """
    before: dict[int, Handler | int] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in INTERRUPTS:
                handler_before = signal.getsignal(number)
                if number == signal.SIGINT or handler_before != signal.SIG_IGN:
                    before[number] = signal.SIG_DFL if handler_before is None else handler_before
                    signal.signal(number, handler)
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Raise Interrupted for all signals that interrupt a command while the block runs, as for Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Interrupted(number)

    with handled_by(interrupt):
        yield


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[Callable[[], int | None]]:
    """Defer the first interrupt, so that the current step is completed and saved; a second one raises Interrupted.

    Yields:
        A function that returns the number of the received signal, or None.
    """
    received: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received:
            raise Interrupted(number)
        received.append(number)

    with handled_by(defer):
        yield lambda: received[0] if received else None
