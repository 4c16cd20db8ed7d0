"""Workers: threads that take tasks from one list, each with a single torch thread.

torch divides every operation among its threads, which spin at the end until all have finished: if another process occupies the
core of one, all others wait. Workers instead take whole tasks (the forward and backward pass of a group of lanes, a chunk of an
update) and sleep if none is left, so a busy machine slows them down in proportion. The result of a task depends neither on the
worker that runs it nor on the number of workers.
"""

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

import torch

Result = TypeVar("Result")
Task = Callable[[], Result]
"""A part of a step that is independent of its other parts."""


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread for operations of the calling thread, within a `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Job:
    """A list of tasks and their results so far."""

    def __init__(self, tasks: Sequence[Task[Any]]) -> None:
        self._tasks = tasks
        self._next = itertools.count()
        self._finished = itertools.count(1)
        self._all_finished = threading.Event()
        self.results: list[Any] = [None] * len(tasks)
        self.errors: list[tuple[int, BaseException]] = []

    def work(self) -> None:
        """Run tasks until none is left to start. Incrementing the counter is atomic, so no task runs twice."""
        while (index := next(self._next)) < len(self._tasks):
            try:
                if not self.errors:
                    self.results[index] = self._tasks[index]()
            except BaseException as error:
                self.errors.append((index, error))
            if next(self._finished) == len(self._tasks):
                self._all_finished.set()

    def wait(self) -> None:
        """Wait until the tasks of all threads have finished."""
        self._all_finished.wait()


class Workers:
    """A pool of threads for lists of tasks; the calling thread is one of them.

    Example:
        >>> from charnn.training.parallel.workers import Workers
        >>> with Workers(2) as workers:
        ...     workers.run([lambda: 1, lambda: 2, lambda: 3])
        [1, 2, 3]
    """

    def __init__(self, max_workers: int = 1) -> None:
        """Create workers; threads are started on first use.

        Args:
            max_workers: number of threads, including the calling one.
        """
        self.max_workers = max(1, max_workers)
        self.num_active = self.max_workers
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def _start_threads(self) -> None:
        before = torch.get_num_threads()
        ready = threading.Semaphore(0)
        for index in range(1, self.max_workers):
            thread = threading.Thread(target=self._serve, args=(ready,), name=f"charnn-worker-{index}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system allows no more threads
                self.max_workers = self.num_active = index
                break
            self._threads.append(thread)
        for _ in self._threads:
            ready.acquire()
        torch.set_num_threads(before)  # new threads inherit the number that the workers set

    def _serve(self, ready: threading.Semaphore) -> None:
        torch.get_num_threads()  # a thread has its own number only after this call; before, it takes that of others at any time
        torch.set_num_threads(1)
        ready.release()
        while (job := self._jobs.get()) is not None:
            job.work()
            del job  # release its results now, not when the next job arrives

    def run(self, tasks: Sequence[Task[Result]]) -> list[Result]:
        """Run independent tasks; return their results in the order of the tasks.

        Raises:
            The error of the first task that failed, after all running tasks have ended.
        """
        if min(self.num_active, len(tasks)) > 1 and not self._threads:
            self._start_threads()
        helpers = min(self.num_active, len(tasks)) - 1
        job = _Job(tasks)
        for _ in range(helpers):
            self._jobs.put(job)
        with one_torch_thread():
            job.work()
            if tasks:
                job.wait()
        if job.errors:
            raise min(job.errors, key=lambda error: error[0])[1]
        return job.results

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the threads."""
        self.close()
