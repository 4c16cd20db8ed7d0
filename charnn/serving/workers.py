"""Work of requests besides generation, in threads: encoding, reading prompts, scoring.

The work of several requests takes turns between chunks, so that a long prompt does not hold up a short one.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import charnn.api
from charnn.serving.bodies import RequestError

Result = TypeVar("Result")
Check = Callable[[], None]
"""Called between chunks of work: gives way to the work of other requests; raises an error once nobody waits for the result."""

MAX_PENDING = 256
"""Requests whose work may be in progress at the same time, or wait."""
NUM_AT_ONCE = 2
"""Requests whose work may be computed at the same time; the others wait for their turn."""


class WorkStoppedError(Exception):
    """The client is gone."""


class Turns:
    """Permits to compute, which go around in the order of asking.

    Args:
        number: threads that may compute at the same time.
    """

    def __init__(self, number: int) -> None:
        self._lock = threading.Lock()
        self._num_free = number
        self._waiting: deque[threading.Event] = deque()

    def take(self) -> None:
        """Wait for a turn."""
        with self._lock:
            if self._num_free:
                self._num_free -= 1
                return
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()

    def give(self) -> None:
        """Let the thread continue that has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._num_free += 1

    def pass_on(self) -> None:
        """Let the others have a turn first, if there are any."""
        if self._waiting:
            self.give()
            self.take()


class Workers:
    """Threads for the work of requests.

    Args:
        max_pending: maximum number of requests whose work is in progress or waits.
    """

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._max_pending = max_pending
        self._executor = ThreadPoolExecutor(max_pending, thread_name_prefix="work")
        self._turns = Turns(NUM_AT_ONCE)
        self._num_pending = 0
        self._is_stopped = False

    @property
    def num_pending(self) -> int:
        """Requests whose work is in progress or waits."""
        return self._num_pending

    async def run(self, work: Callable[[Check], Result]) -> Result:
        """Return the result of some work, done in a thread; it stops if the caller is cancelled.

        Raises:
            RequestError: if too much is in progress already, or the server is stopped.
        """
        if self._num_pending >= self._max_pending:
            raise RequestError(
                f"{self._num_pending:,} requests are being read already, as many as may be; try again later", status=429
            )
        is_unwanted = threading.Event()
        self._num_pending += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._in_turn, work, is_unwanted)
        future.add_done_callback(self._ended)
        try:
            return await asyncio.shield(future)
        finally:
            is_unwanted.set()

    def _ended(self, future: Awaitable[object]) -> None:
        assert isinstance(future, asyncio.Future)
        self._num_pending -= 1
        if not future.cancelled():
            future.exception()  # nobody may wait for it any more

    def _in_turn(self, work: Callable[[Check], Result], is_unwanted: threading.Event) -> Result:
        def check() -> None:
            if is_unwanted.is_set():
                raise WorkStoppedError
            if self._is_stopped:
                raise stopped_error()
            self._turns.pass_on()

        self._turns.take()
        try:
            check()
            with charnn.api.limited_blas_threads(1):  # generation has the others
                return work(check)
        finally:
            self._turns.give()

    def stop(self) -> None:
        """End all work at its next chunk, also work that is begun later."""
        self._is_stopped = True

    def close(self) -> None:
        """End all work and the threads."""
        self.stop()
        self._executor.shutdown(cancel_futures=True)


def stopped_error() -> RequestError:
    """Return the error of a request that the end of the server has cut off."""
    return RequestError("the server was stopped before this request was complete; send it again", status=503)
