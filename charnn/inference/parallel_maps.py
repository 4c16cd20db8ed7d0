"""Maps that compute the results of items in order: in the calling thread, or ahead of time in several."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from charnn.inference.threads import limited_blas_threads, num_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

EXTRA_PENDING = 2
"""Number of items submitted in addition to one per thread, so that threads stay busy while results are consumed."""


class CancelledError(Exception):
    """Raised in a thread whose result is no longer needed."""


Work = Callable[[Item, threading.Event], Result]
"""Computes an item's result; the event is set once the result is no longer needed."""


def serial_map(work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    """Return the results of items in order, each computed lazily in the calling thread."""
    return map(work, items, itertools.repeat(threading.Event()))


def single_threaded_map(work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    """Return the results of items in order, as `serial_map` does; of several, each with one BLAS thread.

    So the results of a long text do not depend on the number of cores. A single item may use them all.
    """
    waiting = iter(items)
    head = list(itertools.islice(waiting, 2))
    rest = itertools.chain(head, waiting)
    return serial_map(work if len(head) < 2 else partial(_with_one_blas_thread, work), rest)


def _with_one_blas_thread(work: Work[Item, Result], item: Item, cancelled: threading.Event) -> Result:
    with limited_blas_threads(1):
        return work(item, cancelled)


def threaded_map(work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    """Return the results of items in order, computed ahead of time by several threads; on one core, by one.

    NumPy releases the GIL during computation, so two threads that process one batch each keep two cores busy in all operations,
    not only in matrix products, and never wait for each other within a step.
    """
    num_threads, waiting = num_cores(), iter(items)
    first = list(itertools.islice(waiting, 2))
    items = itertools.chain(first, waiting)
    if num_threads < 2 or len(first) < 2:
        return single_threaded_map(work, items)
    return _map_ahead(work, items, num_threads)


def _map_ahead(work: Work[Item, Result], items: Iterable[Item], num_threads: int) -> Iterator[Result]:
    """Yield results in order; each thread uses one BLAS thread, a limit it holds only while it computes an item."""
    cancelled = threading.Event()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_threads) as executor:
        try:
            for item in items:
                pending.append(executor.submit(_with_one_blas_thread, work, item, cancelled))
                if len(pending) > num_threads + EXTRA_PENDING:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            cancelled.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
