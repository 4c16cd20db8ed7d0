"""Cores and threads: the number of cores, and the number of BLAS threads.

The number of BLAS threads is global to the process. It is changed only through `BlasThreads`, which restores it when the last
limit is released; a suspended generator holds no limit.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from charnn.cores import available_cores

__all__ = [
    "BLAS",
    "AdaptiveThreads",
    "BlasThreads",
    "limited_blas_threads",
    "num_cores",
]

SECONDS_BETWEEN = 1.0
MIN_STEPS, MIN_SECONDS = 3, 0.002
"""Minimum number of steps, and minimum time, over which a number of threads is timed, after one warm-up step."""
SLOW, MAX_SLOW_ITEMS = 20, 3
"""Fall back to one thread if the first step, or MAX_SLOW_ITEMS items between measurements, take SLOW times as long as a step
with one thread."""


class _Controls(NamedTuple):
    """Getter and setter of the number of threads of a library."""

    get: Callable[[], int]
    set: Callable[[int], object]


def _controls(library: Any) -> _Controls:
    """Return the controls of a threadpoolctl library.

    If possible, OpenBLAS's own functions are called directly: a sampler calls them for every token, and threadpoolctl takes
    several times as long. Some versions of threadpoolctl let only one thread set the number until that thread ends, and
    silently ignore calls from other threads; `BlasThreads` tracks the limits of all threads, so no call may be ignored.
    """
    symbol = getattr(library, "_get_symbol", None)
    if symbol is not None and getattr(library, "threading_layer", None) == "pthreads":
        get, put = symbol("openblas_get_num_threads"), symbol("openblas_set_num_threads")
        if get is not None and put is not None:
            return _Controls(get, put)
    clear = getattr(library, "clear_controlling_thread", None)

    def set_for_all(number: int) -> None:
        if clear is not None:
            clear(force=True)
        library.set_num_threads(number)
        if clear is not None:
            clear(force=True)

    return _Controls(lambda: int(library.num_threads), set_for_all)


class BlasThreads:
    """The number of threads of the BLAS libraries in this process, and the limits on it.

    Several threads may hold limits simultaneously and release them in any order: the lowest limit applies, and the original
    numbers are restored when the last limit is released.

    Args:
        libraries: threadpoolctl's controllers of BLAS libraries; by default, those of this process.
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

            controllers = ThreadpoolController().select(user_api="blas").lib_controllers
            self._known = [_controls(library) for library in controllers]
        return self._known

    def num_unlimited(self) -> int | None:
        """Return the number of BLAS threads without the limits held here, or None if no library reports it."""
        with self._lock:
            numbers = self._unlimited if self._limits else [library.get() for library in self._libraries]
            return max(numbers, default=None)

    def limit(self, holder: object, number: int) -> None:
        """Limit BLAS to this number of threads until the holder releases it; a new limit replaces the holder's old one."""
        with self._lock:
            if not self._limits:
                self._unlimited = [library.get() for library in self._libraries]
            self._limits[holder] = number
            self._apply()

    def release(self, holder: object) -> None:
        """Release a holder's limit, if it has one."""
        with self._lock:
            if self._limits.pop(holder, None) is not None:
                self._apply()

    def _apply(self) -> None:
        least = min(self._limits.values(), default=None)
        for library, unlimited in zip(self._libraries, self._unlimited, strict=True):
            library.set(unlimited if least is None else min(least, unlimited))


BLAS = BlasThreads()
"""The BLAS libraries of this process."""


@contextmanager
def limited_blas_threads(number: int) -> Iterator[None]:
    """Limit BLAS to this number of threads within a block (see `BlasThreads`)."""
    holder = object()
    try:  # an interrupt may come once the limit is set
        BLAS.limit(holder, number)
        yield
    finally:
        BLAS.release(holder)


def num_cores() -> int:
    """Return the number of cores that this process may use: the cores in its affinity mask if the system reports it, else all.

    A lower number of BLAS threads set by the user, with `OMP_NUM_THREADS` or similar variables or with threadpoolctl, is a
    further bound; limits held by `BLAS` are not.
    """
    cores = available_cores()
    allowed = BLAS.num_unlimited()  # None for a BLAS that threadpoolctl does not know, such as Apple's
    return cores if allowed is None else max(1, min(cores, allowed))


class AdaptiveThreads:
    """The number of BLAS threads that was measured to be fastest: 1, 2, 4 or all.

    Two threads are faster on an idle machine, but a hundred times slower on a busy one: they wait for each other by spinning,
    so when another process takes the core of one thread, the other spins until the core is free again. The load may change at
    any time. So one thread is used until the first measurement, measurements are repeated regularly, and between measurements,
    the number falls back to one if items take far longer than with one thread. The number of threads does not affect the
    results of an unbatched stream (see `numpy_steppers`).

    The number applies only within a `with` block. A generator enters one for each step and leaves it before it yields, since it
    may be suspended indefinitely; that costs a few microseconds per step, and nothing if BLAS's default is the fastest.

    Args:
        blas: the BLAS libraries to control.
    """

    def __init__(self, blas: BlasThreads = BLAS) -> None:
        self._blas = blas
        self._number: int | None = 1
        self._next_review = 0.0
        self._entered, self._max_seconds, self._num_slow = 0.0, math.inf, 0

    def __enter__(self) -> None:
        if self._number is not None:
            self._blas.limit(self, self._number)
        self._entered = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self._number is not None:
            self._blas.release(self)
        if self._number != 1 and time.perf_counter() - self._entered > self._max_seconds:
            self._num_slow += 1
            if self._num_slow == MAX_SLOW_ITEMS:
                self._number = 1

    def review(self, step: Callable[[], object]) -> None:
        """Measure again, within a `with` block, if the last measurement was some time ago.

        Args:
            step: the work to time.
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
                self._max_seconds, self._num_slow = SLOW * seconds, 0
            if seconds < least:
                fastest, least = number, seconds
        return fastest

    def _time(self, number: int, step: Callable[[], object], max_seconds: float) -> float:
        """Return the median duration of a step with this number of threads, or that of the first step if it is slow."""
        self._blas.limit(self, number)
        seconds: list[float] = []
        while len(seconds) <= MIN_STEPS or sum(seconds[1:]) < MIN_SECONDS:
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
            if seconds[0] > max_seconds:
                return seconds[0]
        timed = sorted(seconds[1:])
        return timed[len(timed) // 2]
