"""What ends a command from outside: Ctrl-C, the end that a system asks for, and that of the terminal."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

INTERRUPTS: tuple[int, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""Windows has no SIGHUP, and SIGBREAK (Ctrl-Break) nobody else."""

Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def handled_by(handler: Handler) -> Iterator[None]:
    """Let a function handle what ends a command while the block runs.

    Only the main thread can set handlers: in another one nothing is done. What `nohup` made the process ignore stays ignored.
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
    """Let all that ends a command raise KeyboardInterrupt while the block runs, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    with handled_by(interrupt):
        yield


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[Callable[[], int | None]]:
    """Let the first interrupt only be noted, so that the step in hand is finished and saved; a second one acts.

    Yields:
        What returns the number of the signal that came, or None.
    """
    received: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received:
            raise KeyboardInterrupt
        received.append(number)

    with handled_by(defer):
        yield lambda: received[0] if received else None
