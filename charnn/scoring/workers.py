"""Batches read by several threads at once, each with one BLAS thread of its own.

NumPy lets go of Python's lock while it computes, so two threads that each read a batch keep two cores busy with all of the
work, not with matrix products alone; and neither waits for the other in the middle of a step.
"""

import functools
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class CancelledError(Exception):
    """Raised in a thread whose work nobody waits for any more."""


def in_threads(
    groups: Iterable[Sequence[Task]], work: Callable[[Task, threading.Event], Result]
) -> Iterator[list[Result]]:
    """Yield the results of each group of tasks, in order; the next group is under way meanwhile.

    Args:
        work: is given a task and an event that is set where the result is not wanted any more.
    """
    waiting = iter(groups)
    first = list(itertools.islice(waiting, 2))
    cancelled, num_threads = threading.Event(), num_workers()
    if num_threads < 2 or sum(map(len, first)) < 2:
        yield from one_by_one(itertools.chain(first, waiting), work)
        return
    under_way: deque[list[Future[Result]]] = deque()
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(num_threads) as executor:
        try:
            for tasks in itertools.chain(first, waiting):
                under_way.append([executor.submit(work, task, cancelled) for task in tasks])
                if len(under_way) > 1:
                    yield [future.result() for future in under_way.popleft()]
            while under_way:
                yield [future.result() for future in under_way.popleft()]
        except BaseException:
            cancelled.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise


def one_by_one(
    groups: Iterable[Sequence[Task]], work: Callable[[Task, threading.Event], Result]
) -> Iterator[list[Result]]:
    """Yield the same as `in_threads` does, from this thread alone."""
    never = threading.Event()
    yield from ([work(task, never) for task in tasks] for tasks in groups)


@functools.cache
def num_workers() -> int:
    """Return how many threads there are to be: as many as BLAS would use at first, no more than there are cores."""
    most = max((library["num_threads"] for library in _blas().info() if library["user_api"] == "blas"), default=1)
    has_affinity = hasattr(os, "sched_getaffinity")
    return min(int(most), len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1)


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
