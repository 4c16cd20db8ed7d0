"""The thread that generates: the streams of all requests to a model are stepped together."""

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from charnn.config import SampleOptions
from charnn.errors import CharnnError
from charnn.inference.stepper import Stepper
from charnn.inference.threads import AdaptiveThreads
from charnn.ngrams.mixture import Mixture
from charnn.sampling.batch import MOST_STREAMS, Member, StreamBatch
from charnn.sampling.stopping import EndReason
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import Alternatives, SampleRequest
from charnn.text.tokenizers import Tokenizer

logger = logging.getLogger(__name__)
MAX_SAMPLERS = 64
"""Sets of options for which the samplers are kept."""


@dataclass(frozen=True)
class Update:
    """What a stream of a job generated since the last update.

    Args:
        index: the stream's index in its job.
        text: text that is now certain.
        ids, log_probs_nats, alternatives: of its tokens since the last update (see `Sample`); a closing boundary is not
            among the ids, but has a log probability.
        num_tokens: tokens of the sample so far.
        ended: why the sample is complete, None while it is not.
        error: why the job failed, None if it did not.
    """

    index: int
    text: str = ""
    ids: Sequence[int] = ()
    log_probs_nats: Sequence[float] = ()
    alternatives: Sequence[Alternatives] = ()
    num_tokens: int = 0
    ended: EndReason | None = None
    error: Exception | None = None


@dataclass(eq=False)
class Job:
    """The streams of a request.

    Args:
        members: the streams.
        deliver: called in the generating thread with the updates of a step; it must not block.
    """

    members: Sequence[Member]
    deliver: Callable[[list[Update]], None]
    is_cancelled: bool = False

    def __post_init__(self) -> None:
        """Nothing was delivered yet."""
        self._num_delivered = [0] * len(self.members)

    def update(self, index: int, text: str) -> Update:
        """Return what a stream generated since its last update."""
        sample = self.members[index].stream.sample
        new = slice(self._num_delivered[index], None)
        self._num_delivered[index] = len(sample.ids)
        return Update(
            index,
            text,
            sample.ids[new],
            sample.log_probs_nats[new],
            sample.alternatives[new],
            len(sample.ids),
            sample.ended,
        )


class QueueFullError(CharnnError):
    """Too many streams wait already."""


class Generation:
    """Generates for all requests to a model, in one thread.

    Args:
        stepper: of one stream in its initial state.
        mixture: reads the n-gram model to interpolate with, for options that ask for it.
        max_waiting: maximum number of streams that may wait for others to end.

    Example:
        >>> generation = charnn.api.Generation(stepper, model.tokenizer, mixture=lambda: None, max_waiting=1000)
        >>> generation.close()
    """

    def __init__(
        self, stepper: Stepper, tokenizer: Tokenizer, *, mixture: Callable[[], Mixture | None], max_waiting: int
    ) -> None:
        self._stepper, self._tokenizer, self._read_mixture = stepper, tokenizer, mixture
        self._samplers: dict[SampleOptions, StreamSampler] = {}
        self._building = threading.Lock()
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def num_streams(self) -> int:
        """The streams in progress and those that wait."""
        with self._changed:
            return sum(len(job.members) for job in (*self._waiting, *self._running))

    def job(
        self, options: SampleOptions, requests: Sequence[SampleRequest], deliver: Callable[[list[Update]], None]
    ) -> Job:
        """Return a job to submit; its prompts are prepared in the calling thread."""
        sampler = self._sampler(options)
        return Job([Member(sampler, stream) for stream in sampler.streams(enumerate(requests))], deliver)

    def _sampler(self, options: SampleOptions) -> StreamSampler:
        """Return the sampler for some options, one for all requests that have the same."""
        with self._building:
            if options not in self._samplers:
                if len(self._samplers) >= MAX_SAMPLERS:
                    del self._samplers[next(iter(self._samplers))]
                mixture = self._read_mixture() if options.mix_ngram else None
                self._samplers[options] = StreamSampler(self._stepper, self._tokenizer, options, mixture=mixture)
            return self._samplers[options]

    def submit(self, job: Job) -> None:
        """Add the streams of a job. Raises QueueFullError if too many wait."""
        with self._changed:
            waiting = sum(len(each.members) for each in self._waiting)
            if self._waiting and waiting + len(job.members) > self._max_waiting:
                raise QueueFullError(f"{waiting} samples are waiting, of {self._max_waiting} that may; try again later")
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Drop the streams of a job, whose client is gone."""
        with self._changed:
            job.is_cancelled = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread; jobs in progress are dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        batch = StreamBatch(self._stepper, AdaptiveThreads())
        while True:
            try:
                if not self._take_jobs(batch):
                    return
                self._deliver(list(batch.step()))
            except Exception as error:
                logger.exception("generation failed; all samples in progress are ended")
                self._fail(batch, error)

    def _take_jobs(self, batch: StreamBatch) -> bool:
        """Wait until there is something to generate; return False once closed."""
        with self._changed:
            while True:
                self._drop_cancelled(batch)
                self._join_waiting(batch)
                if self._is_closed:
                    return False
                if batch.members:
                    return True
                self._changed.wait()

    def _drop_cancelled(self, batch: StreamBatch) -> None:
        members = {id(member) for job in self._running if job.is_cancelled for member in job.members}
        if members:
            batch.leave(lambda member: id(member) in members)
        self._running = [job for job in self._running if not job.is_cancelled]
        self._waiting = [job for job in self._waiting if not job.is_cancelled]

    def _join_waiting(self, batch: StreamBatch) -> None:
        while self._waiting and (
            not batch.members or len(batch.members) + len(self._waiting[0].members) <= MOST_STREAMS
        ):
            job = self._waiting.pop(0)
            self._running.append(job)
            batch.join(job.members)

    def _deliver(self, updates: list[tuple[Member, str]]) -> None:
        by_member = {id(member): text for member, text in updates}
        for job in list(self._running):
            fresh = [
                job.update(index, by_member[id(member)])
                for index, member in enumerate(job.members)
                if id(member) in by_member
            ]
            if fresh and not job.is_cancelled:
                _send(job, fresh)
        with self._changed:
            self._running = [
                job for job in self._running if any(not member.stream.sample.ended for member in job.members)
            ]

    def _fail(self, batch: StreamBatch, error: Exception) -> None:
        batch.leave(lambda _: True)
        with self._changed:
            jobs, self._running = self._running, []
        for job in jobs:
            _send(job, [Update(0, error=error)])


def _send(job: Job, updates: list[Update]) -> None:
    """Deliver updates, unless the event loop of the client is closed."""
    with contextlib.suppress(RuntimeError):
        job.deliver(updates)
