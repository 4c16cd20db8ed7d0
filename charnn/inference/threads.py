"""Cores and threads: how many there are, how many BLAS uses, and tasks done by several threads at once.

BLAS's number of threads is one for the whole process. Whoever changes it does so through `BlasThreads`, which puts it back as
soon as nobody computes under a limit any more; a generator holds none while it is suspended.
"""

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from charnn.cores import available_cores

__all__ = [
    "BLAS",
    "AdaptiveThreads",
    "BlasThreads",
    "CancelledError",
    "limited_blas_threads",
    "num_cores",
    "serial_map",
    "threaded_map",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

SECONDS_BETWEEN = 1.0
LEAST_STEPS, LEAST_SECONDS = 3, 0.002
"""The fewest steps, and the shortest time, over which a number of threads is timed, after one step that wakes them."""
SLOW, MOST_SLOW_ITEMS = 20, 3
"""Several threads are given up where a first step, or MOST_SLOW_ITEMS items between reviews, take SLOW times a step."""
EXTRA_PENDING = 2
"""Items submitted beyond one for each thread, so that threads stay busy while results are used."""


class _Controls(NamedTuple):
    """How a library's number of threads is read and set."""

    get: Callable[[], int]
    set: Callable[[int], object]


def _controls(library: Any) -> _Controls:
    """Return the controls of one of threadpoolctl's libraries.

    OpenBLAS's own functions are called directly where they can be: a sampler does so at every token, and threadpoolctl takes
    several times as long. Some of its versions let only one thread set the number, until that thread ends, and ignore others
    without a word; `BlasThreads` keeps the limits of all threads, so none may be ignored.
    """
    symbol = getattr(library, "_get_symbol", None)
    if symbol is not None and getattr(library, "threading_layer", None) == "pthreads":
        get, put = symbol("openblas_get_num_threads"), symbol("openblas_set_num_threads")
        if get is not None and put is not None:
            return _Controls(get, put)
    let_go = getattr(library, "clear_controlling_thread", None)

    def set_for_all(number: int) -> None:
        if let_go is not None:
            let_go(force=True)
        library.set_num_threads(number)
        if let_go is not None:
            let_go(force=True)

    return _Controls(lambda: int(library.num_threads), set_for_all)


class BlasThreads:
    """The number of threads of the BLAS libraries in this process, and the limits on it.

    Several threads may hold a limit simultaneously, and release it in any order: the least of the limits is in force, and the
    numbers that the first of them found are put back when the last is gone.

    Args:
        libraries: BLAS libraries as threadpoolctl has them; those of this process by default.
    """

    def __init__(self, libraries: Sequence[Any] | None = None) -> None:
        self._known = None if libraries is None else [_controls(library) for library in libraries]
        self._lock = threading.Lock()
        self._limits: dict[object, int] = {}
        self._unlimited: list[int] = []

    @property
    def _libraries(self) -> Sequence["_Controls"]:
        if self._known is None:
            from threadpoolctl import ThreadpoolController

            found = ThreadpoolController().select(user_api="blas").lib_controllers
            self._known = [_controls(library) for library in found]
        return self._known

    def num_unlimited(self) -> int | None:
        """Return how many threads BLAS has where no limit is held here, or None where no library tells."""
        with self._lock:
            numbers = self._unlimited if self._limits else [library.get() for library in self._libraries]
            return max(numbers, default=None)

    def limit(self, holder: object, number: int) -> None:
        """Limit BLAS to this number of threads until the holder releases it; a holder's new limit replaces its old one."""
        with self._lock:
            if not self._limits:
                self._unlimited = [library.get() for library in self._libraries]
            self._limits[holder] = number
            self._apply()

    def release(self, holder: object) -> None:
        """End a holder's limit, if it has one."""
        with self._lock:
            if self._limits.pop(holder, None) is not None:
                self._apply()

    def _apply(self) -> None:
        least = min(self._limits.values(), default=None)
        for library, unlimited in zip(self._libraries, self._unlimited, strict=True):
            library.set(unlimited if least is None else min(least, unlimited))


BLAS = BlasThreads()
"""The libraries of this process."""


@contextmanager
def limited_blas_threads(number: int) -> Iterator[None]:
    """Limit BLAS to this number of threads in a block (see `BlasThreads`)."""
    holder = object()
    try:  # an interrupt may come once the limit is set
        BLAS.limit(holder, number)
        yield
    finally:
        BLAS.release(holder)


def num_cores() -> int:
    """Return how many cores this process may use: those that it is bound to, where the system tells, otherwise all.

    Where a user lets BLAS have fewer threads, by `OMP_NUM_THREADS` and its like or by threadpoolctl, there are as many; limits
    held by `BLAS` do not count.
    """
    cores = available_cores()
    allowed = BLAS.num_unlimited()  # None for a BLAS that threadpoolctl does not know, such as Apple's
    return cores if allowed is None else max(1, min(cores, allowed))


class AdaptiveThreads:
    """The number of BLAS threads that is fastest by measurement: 1, 2, 4 or all.

    Two threads are faster on a quiet machine, and a hundred times slower on a busy one: they wait for each other by spinning,
    so where another process takes the core of one, the other spins until it is free again. Which applies may change at any
    moment. So there is one thread until the first measurement, which is repeated regularly, and several threads are given up
    between measurements where items take far longer than one thread needs. The number of threads changes no result of an
    unbatched stream (see `numpy_steppers`).

    The number is in force in a `with` block only. A generator enters one for each step and leaves it before it yields, since
    it may be suspended there for any time; that costs some microseconds per step, and nothing where BLAS's own number is the
    fastest.

    Args:
        blas: whose threads they are.
    """

    def __init__(self, blas: BlasThreads = BLAS) -> None:
        self._blas = blas
        self._number: int | None = 1
        self._next_review = 0.0
        self._entered, self._most_seconds, self._num_slow = 0.0, 0.0, 0

    def __enter__(self) -> None:
        if self._number is not None:
            self._blas.limit(self, self._number)
        self._entered = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self._number is not None:
            self._blas.release(self)
        if self._number != 1 and time.perf_counter() - self._entered > self._most_seconds:
            self._num_slow += 1
            if self._num_slow == MOST_SLOW_ITEMS:
                self._number = 1

    def review(self, step: Callable[[], object]) -> None:
        """Measure again, within a `with` block, if the last measurement was some time ago.

        Args:
            step: the work that is to be quick.
        """
        if time.perf_counter() < self._next_review:
            return
        most = self._blas.num_unlimited() or 1
        self._number = None
        try:
            if most > 1:
                fastest = self._fastest(sorted({number for number in (1, 2, 4) if number < most} | {most}), step)
                self._number = fastest if fastest < most else None
        finally:
            self._blas.release(self)
            self.__enter__()
        self._next_review = self._entered + SECONDS_BETWEEN

    def _fastest(self, numbers: Sequence[int], step: Callable[[], object]) -> int:
        fastest, least = 1, math.inf
        for number in numbers:
            seconds = self._time(number, step, SLOW * least)
            if number == 1:
                self._most_seconds, self._num_slow = SLOW * seconds, 0
            if seconds < least:
                fastest, least = number, seconds
        return fastest

    def _time(self, number: int, step: Callable[[], object], most_seconds: float) -> float:
        """Return the seconds of a step with this number of threads, the median of some; or of the first if it is slow."""
        self._blas.limit(self, number)
        seconds: list[float] = []
        while len(seconds) <= LEAST_STEPS or sum(seconds[1:]) < LEAST_SECONDS:
            begun = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begun)
            if seconds[0] > most_seconds:
                return seconds[0]
        timed = sorted(seconds[1:])
        return timed[len(timed) // 2]


class CancelledError(Exception):
    """Raised in a thread whose work nobody waits for any more."""


Work = Callable[[Item, threading.Event], Result]
"""Computes an item's result; the event is set once the result is no longer needed."""


def serial_map(work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    """Return the results of items in order, each computed in this thread when it is requested."""
    return map(work, items, itertools.repeat(threading.Event()))


def threaded_map(work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    """Return the results of items in order, computed by several threads ahead of their use; as `serial_map` on one core.

    NumPy releases Python's lock while it computes, so two threads that each read a batch keep two cores busy with all of the
    work, not with matrix products alone, and never wait for each other in the middle of a step.
    """
    num_threads, waiting = num_cores(), iter(items)
    first = list(itertools.islice(waiting, 2))
    items = itertools.chain(first, waiting)
    if num_threads < 2 or len(first) < 2:
        return serial_map(work, items)
    return _map_ahead(work, items, num_threads)


def _map_ahead(work: Work[Item, Result], items: Iterable[Item], num_threads: int) -> Iterator[Result]:
    """Yield results in order; each thread has one BLAS thread, limited only while it computes an item."""
    cancelled = threading.Event()

    def work_with_one_blas_thread(item: Item) -> Result:
        with limited_blas_threads(1):
            return work(item, cancelled)

    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_threads) as executor:
        try:
            for item in items:
                pending.append(executor.submit(work_with_one_blas_thread, item))
                if len(pending) > num_threads + EXTRA_PENDING:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            cancelled.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
