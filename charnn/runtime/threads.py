"""How many threads BLAS uses, by measurement: two are faster on a quiet machine, and many times slower on a busy one.

They wait for each other by spinning, so where something else takes one's core, the other spins as long. Which it is may change
at any moment, so it is measured again and again. The number of threads changes no result of a stream read by itself (see
`fused`).
"""

import time
from collections.abc import Callable
from typing import Any

SECONDS_BETWEEN = 1.0
LEAST_STEPS, LEAST_SECONDS = 3, 0.002
"""A way is timed by so many steps at least, and so long."""


class BlasThreads:
    """Sets the number of BLAS threads to the fastest of 1, 2, 4 and as many as there are."""

    def __init__(self) -> None:
        self._libraries: list[Any] | None = None
        self._choices: list[int] = []
        self._next_review = 0.0

    def review(self, step: Callable[[], object]) -> None:
        """Choose anew, if the last choice was some time ago.

        Args:
            step: the work that is to be quick.
        """
        if time.perf_counter() < self._next_review:
            return
        if self._libraries is None:
            self._find_libraries()
        if len(self._choices) > 1:
            seconds = {number: self._time(number, step) for number in self._choices}
            self._set(min(seconds, key=lambda number: seconds[number]))
        self._next_review = time.perf_counter() + SECONDS_BETWEEN

    def _find_libraries(self) -> None:
        from threadpoolctl import ThreadpoolController

        self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        most = max((library.num_threads for library in self._libraries), default=1)
        self._choices = sorted({number for number in (1, 2, 4) if number < most} | {most})

    def _set(self, number: int) -> None:
        for library in self._libraries or ():
            library.set_num_threads(number)

    def _time(self, number: int, step: Callable[[], object]) -> float:
        """Return the seconds of a step with so many threads, the quickest of some."""
        self._set(number)
        step()
        found: list[float] = []
        while len(found) < LEAST_STEPS or sum(found) < LEAST_SECONDS:
            begun = time.perf_counter()
            step()
            found.append(time.perf_counter() - begun)
        return sorted(found)[len(found) // 2]
