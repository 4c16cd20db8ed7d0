"""Jobs: the streams of a request, and which streams of several jobs are in a batch."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from charnn.sampling.batch import Member
from charnn.sampling.stopping import EndReason
from charnn.sampling.streams import Alternatives

STEPS_PER_TURN = 64
"""Steps after which streams give way to others, if there are more jobs than places in the batch."""


@dataclass(frozen=True)
class Update:
    """What a stream of a job generated since its last update.

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

    def followed_by(self, later: "Update") -> "Update":
        """Return this update and the next one of the same stream as one."""
        return replace(
            later,
            text=self.text + later.text,
            ids=[*self.ids, *later.ids],
            log_probs_nats=[*self.log_probs_nats, *later.log_probs_nats],
            alternatives=[*self.alternatives, *later.alternatives],
        )


@dataclass(eq=False)
class Job:
    """The streams of a request.

    Args:
        members: the streams.
        deliver: called in the generating thread with updates of several streams; it must not block.
        seconds_between: minimum time between two updates of a stream that is not complete; infinite for none before its end.
    """

    members: Sequence[Member]
    deliver: Callable[[list[Update]], None]
    seconds_between: float = 0.0
    is_cancelled: bool = False
    pending: deque[Member] = field(init=False)
    """Streams that wait for a place in the batch."""
    running: list[Member] = field(init=False, default_factory=list)
    """Streams that are in the batch, in the order of joining."""
    next_delivery: float = field(init=False)
    """When the streams in progress are next looked at for updates."""

    def __post_init__(self) -> None:
        """All streams wait, and nothing is delivered yet."""
        self.pending = deque(self.members)
        self.index_of = {member: index for index, member in enumerate(self.members)}
        self._ended: list[Member] = []
        self._num_delivered = [(0, 0) for _ in self.members]
        self.next_delivery = 0.0 if math.isfinite(self.seconds_between) else math.inf

    @property
    def num_open(self) -> int:
        """Streams that are not complete."""
        return len(self.pending) + len(self.running)

    def end(self, member: Member) -> None:
        """Note that a stream has ended."""
        self._ended.append(member)
        if member in self.running:
            self.running.remove(member)

    def due_updates(self, now: float, least_seconds: float) -> list[Update]:
        """Return the updates that are to be delivered now.

        Args:
            now: by `time.monotonic`.
            least_seconds: minimum time between two updates, if longer than this job's.
        """
        due, self._ended = self._ended, []
        if now >= self.next_delivery:
            due += [member for member in (*self.running, *self.pending) if self._has_news(member)]
            if due:
                self.next_delivery = now + max(self.seconds_between, least_seconds)
        return [self._update(member) for member in due]

    def _has_news(self, member: Member) -> bool:
        """Return whether text became certain since the last update, or alternatives are to be shown."""
        num_ids, num_parts = self._num_delivered[self.index_of[member]]
        sample = member.stream.sample
        return len(sample.ids) > num_ids and (any(sample.parts[num_parts:]) or len(sample.alternatives) > num_ids)

    def _update(self, member: Member) -> Update:
        """Return what a stream generated since its last update."""
        index, sample = self.index_of[member], member.stream.sample
        num_ids, num_parts = self._num_delivered[index]
        new = slice(num_ids, None)
        self._num_delivered[index] = len(sample.ids), len(sample.parts)
        return Update(
            index,
            "".join(sample.parts[num_parts:]),
            sample.ids[new],
            sample.log_probs_nats[new],
            sample.alternatives[new],
            len(sample.ids),
            sample.ended,
        )


class Schedule:
    """Shares the places of a batch among jobs.

    Each job gets as many places as any other, if it has that many streams. Where a job has more, its last streams are suspended
    when another one needs their places. If there are more jobs than places, their streams take turns.

    Args:
        num_places: streams that the batch may have.
    """

    def __init__(self, num_places: int) -> None:
        self.jobs: list[Job] = []
        self._num_places = num_places
        self._num_steps = 0
        self._has_changed = False

    def add(self, job: Job) -> None:
        """Add a job, all of whose streams wait."""
        self.jobs.append(job)
        self._has_changed = True

    def end(self, member: Member, job: Job) -> None:
        """Note that a stream of a job has ended."""
        job.end(member)
        self._has_changed = True

    def remove(self, is_gone: Callable[[Job], bool]) -> list[Job]:
        """Remove the jobs for which a condition holds; return them."""
        gone = [job for job in self.jobs if is_gone(job)]
        if gone:
            self.jobs = [job for job in self.jobs if not is_gone(job)]
            self._has_changed = True
        return gone

    def rearrange(self) -> tuple[list[Member], list[Member]]:
        """Return the streams that are suspended, and those that take part from the next step on."""
        self._num_steps += 1
        ends_turns = self._num_steps % STEPS_PER_TURN == 0
        if not (self._has_changed or ends_turns):
            return [], []
        self._has_changed = False
        suspended, joining = self._end_turns() if ends_turns else [], list[Member]()
        num_free = self._num_places - sum(len(job.running) for job in self.jobs)
        while waiting := [job for job in self.jobs if job.pending]:
            fewest = min(waiting, key=_num_running)
            if not num_free:
                most = max(self.jobs, key=_num_running)
                if len(most.running) <= len(fewest.running) + 1:
                    break
                suspended.append(_suspend_last(most))
                num_free += 1
            fewest.running.append(fewest.pending.popleft())
            joining.append(fewest.running[-1])
            num_free -= 1
        return suspended, joining

    def _end_turns(self) -> list[Member]:
        """Suspend as many streams as there are jobs without any in the batch; their jobs come last then."""
        num_starved = sum(not job.running and bool(job.pending) for job in self.jobs)
        ending = [job for job in self.jobs if job.running][:num_starved]
        self.jobs = [job for job in self.jobs if job not in ending] + ending
        return [_suspend_last(job) for job in ending]


def _num_running(job: Job) -> int:
    return len(job.running)


def _suspend_last(job: Job) -> Member:
    member = job.running.pop()
    job.pending.appendleft(member)
    return member
