"""The thread that generates: the streams of all requests to a model are stepped together."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from charnn.config import SampleOptions
from charnn.errors import CharnnError
from charnn.inference.stepper import Stepper
from charnn.inference.threads import AdaptiveThreads
from charnn.ngrams.mixture import Mixture
from charnn.sampling.batch import MOST_STREAMS, Member, StreamBatch
from charnn.sampling.jobs import Job, Schedule, Update
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import SampleRequest
from charnn.text.tokenizers import Tokenizer

logger = logging.getLogger(__name__)
MAX_SAMPLERS = 64
"""Sets of options for which the samplers are kept."""
SECONDS_PER_UPDATE = 0.004
"""Minimum time between updates, on average over all jobs: sending one takes time in which nothing is generated."""


class QueueFullError(CharnnError):
    """Too many streams wait already."""


class Generation:
    """Generates for all requests to a model, in one thread.

    Args:
        stepper: of one stream in its initial state.
        mixture: reads the n-gram model to interpolate with, for options that ask for it.
        max_waiting: maximum number of streams that may wait for a place in the batch.

    Example:
        >>> generation = charnn.api.Generation(stepper, model.tokenizer, mixture=lambda: None, max_waiting=1000)
        >>> generation.close()
    """

    def __init__(
        self, stepper: Stepper, tokenizer: Tokenizer, *, mixture: Callable[[], Mixture | None], max_waiting: int
    ) -> None:
        self._stepper, self._tokenizer, self._read_mixture = stepper, tokenizer, mixture
        self._samplers: dict[SampleOptions, StreamSampler] = {}
        self._keeping = threading.Lock()
        self._max_open = MOST_STREAMS + max_waiting
        self._changed = threading.Condition()
        self._schedule = Schedule(MOST_STREAMS)
        self._job_of: dict[Member, Job] = {}
        self._batch = StreamBatch(stepper, AdaptiveThreads(), on_failure=self._end_job_of)
        self._next_delivery = math.inf
        self._is_interrupted = self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def num_streams(self) -> int:
        """The streams in progress and those that wait."""
        with self._changed:
            return self._num_open()

    def _num_open(self) -> int:
        return sum(job.num_open for job in self._schedule.jobs)

    def job(
        self,
        options: SampleOptions,
        requests: Sequence[SampleRequest],
        deliver: Callable[[list[Update]], None],
        *,
        seconds_between: float = 0.0,
    ) -> Job:
        """Return a job to submit; its prompts are prepared in the calling thread."""
        sampler = self._sampler(options)
        members = [Member(sampler, stream) for stream in sampler.streams(enumerate(requests))]
        return Job(members, deliver, seconds_between)

    def _sampler(self, options: SampleOptions) -> StreamSampler:
        """Return the sampler for some options, one for all requests that have the same; building it may take long."""
        mixture = self._read_mixture() if options.mix_ngram else None
        with self._keeping:
            if options in self._samplers:
                return self._samplers[options]
        made = StreamSampler(self._stepper, self._tokenizer, options, mixture=mixture)
        with self._keeping:
            if len(self._samplers) >= MAX_SAMPLERS:
                del self._samplers[next(iter(self._samplers))]
            return self._samplers.setdefault(options, made)

    def submit(self, job: Job) -> None:
        """Add the streams of a job. Raises QueueFullError if too many wait."""
        with self._changed:
            num_open = self._num_open()
            if num_open and num_open + job.num_open > self._max_open:
                raise QueueFullError(
                    f"{num_open:,} samples are in progress or wait, of {self._max_open:,} that may; try again later"
                )
            self._schedule.add(job)
            self._next_delivery = min(self._next_delivery, job.next_delivery)
            self._job_of |= dict.fromkeys(job.members, job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Drop the streams of a job, whose client is gone."""
        with self._changed:
            job.is_cancelled = True
            self._changed.notify()

    def interrupt(self) -> None:
        """End all samples as they are, also those that are submitted later."""
        with self._changed:
            self._is_interrupted = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread; jobs in progress are dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                if not self._prepare_step():
                    return
                updated = [member for member, _ in self._batch.step()]
                self._deliver(updated)
            except Exception as error:
                logger.exception("generation failed; all samples in progress are ended")
                self._end_all(error)

    def _prepare_step(self) -> bool:
        """Wait until there is something to generate, and arrange the batch; return False once closed."""
        while True:
            with self._changed:
                self._drop(lambda job: job.is_cancelled)
                if self._is_closed:
                    return False
                if self._schedule.jobs:
                    suspended, joining = self._schedule.rearrange()
                    break
                self._changed.wait()
        if suspended:
            self._batch.suspend(set(suspended))
        if joining:
            self._batch.join(joining)
        if self._is_interrupted:
            self._interrupt_all()
        return True

    def _drop(self, is_gone: Callable[[Job], bool]) -> None:
        """Forget jobs, and take their streams out of the batch; the lock is held."""
        members = {member for job in self._schedule.remove(is_gone) for member in job.members}
        if members:
            for member in members:
                del self._job_of[member]
            self._batch.leave(lambda member: member in members)

    def _interrupt_all(self) -> None:
        with self._changed:  # jobs that are submitted later are ended by the next step
            members = [member for job in self._schedule.jobs for member in (*job.running, *job.pending)]
            for job in self._schedule.jobs:
                job.pending.clear()
        for member in members:
            member.stream.finish("interrupted")
        self._batch.leave(lambda _: True)
        self._deliver(members)

    def _deliver(self, updated: Sequence[Member]) -> None:
        """Send what is due, after streams got new text or an end."""
        ended = [member for member in updated if member.stream.sample.ended is not None]
        now = time.monotonic()
        if now < self._next_delivery and not ended:
            return
        with self._changed:
            for member in ended:
                self._schedule.end(member, self._job_of[member])
            jobs = [job for job in self._schedule.jobs if not job.is_cancelled]
            least_seconds = SECONDS_PER_UPDATE * len(jobs)
            due = [(job, updates) for job in jobs if (updates := job.due_updates(now, least_seconds))]
            self._drop(lambda job: not job.num_open)
            self._next_delivery = min((job.next_delivery for job in self._schedule.jobs), default=math.inf)
        for job, updates in due:
            _send(job, updates)

    def _end_job_of(self, member: Member, error: Exception) -> None:
        """End the job of a stream that failed; the other jobs go on."""
        job = self._job_of[member]
        if not job.is_cancelled:
            job.is_cancelled = True
            _send(job, [Update(job.index_of[member], error=error)])

    def _end_all(self, error: Exception) -> None:
        with self._changed:
            jobs = list(self._schedule.jobs)
            self._drop(lambda _: True)
        for job in jobs:
            _send(job, [Update(0, error=error)])


def _send(job: Job, updates: list[Update]) -> None:
    """Deliver updates, unless the event loop of the client is closed."""
    with contextlib.suppress(RuntimeError):
        job.deliver(updates)
