"""Workers: threads that take tasks from one list, each with one thread of torch's own.

torch's own threads share every operation and wait for each other by spinning at its end, so that where something else takes
one's core the others spin as long. Workers share out whole tasks (a group of lanes forward and backward, a piece of an
update) and sleep when there is none left: a busy machine slows them in proportion. A task's result does not depend on which
worker does it, nor on how many there are.
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
"""A part of a step that depends on no other part of it."""


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread for what this thread asks of it; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Job:
    """One list of tasks, and what has come of them so far."""

    def __init__(self, tasks: Sequence[Task[Any]]) -> None:
        self._tasks = tasks
        self._next = itertools.count()
        self._finished = itertools.count(1)
        self._all_finished = threading.Event()
        self.results: list[Any] = [None] * len(tasks)
        self.errors: list[tuple[int, BaseException]] = []

    def work(self) -> None:
        """Do tasks until none is left to begin. Counting is one step of the interpreter, so no task is done twice."""
        while (number := next(self._next)) < len(self._tasks):
            try:
                if not self.errors:
                    self.results[number] = self._tasks[number]()
            except BaseException as error:
                self.errors.append((number, error))
            if next(self._finished) == len(self._tasks):
                self._all_finished.set()

    def wait(self) -> None:
        """Return when the tasks that others began are finished too."""
        self._all_finished.wait()


class Workers:
    """Threads for lists of tasks; the thread that hands a list over is the first of them.

    Example:
        >>> with Workers(2) as workers:
        ...     workers.run([lambda: 1, lambda: 2, lambda: 3])
        [1, 2, 3]
    """

    def __init__(self, most: int = 1) -> None:
        """Make workers that sleep until there is something to do.

        Args:
            most: how many there are, the calling thread included.
        """
        self.most = max(1, most)
        self.num_active = self.most
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def _start_threads(self) -> None:
        before = torch.get_num_threads()
        ready = threading.Semaphore(0)
        for number in range(1, self.most):
            thread = threading.Thread(target=self._serve, args=(ready,), name=f"charnn-worker-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system allows no more of them
                self.most = self.num_active = number
                break
            self._threads.append(thread)
        for _ in self._threads:
            ready.acquire()
        torch.set_num_threads(before)  # what workers set is what other new threads would begin with

    def _serve(self, ready: threading.Semaphore) -> None:
        torch.get_num_threads()  # a thread's own number counts once it has asked; before that it takes another's at any time
        torch.set_num_threads(1)
        ready.release()
        while (job := self._jobs.get()) is not None:
            job.work()
            del job  # what a job holds must not outlive it

    def run(self, tasks: Sequence[Task[Result]]) -> list[Result]:
        """Do tasks that do not depend on each other; return their results in the tasks' order.

        Raises:
            What the first task that failed raised, once no other is under way.
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
            raise min(job.errors, key=lambda found: found[0])[1]
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
