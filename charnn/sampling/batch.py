"""A batch of streams that are stepped together, which others may join and leave at any step.

A batched product rounds its last bits differently from that of a single stream; where a token selection is so close that this
could change it (see `filters`), the stream is read again unbatched, and that result is used. So a sample depends only on its
own seed, whatever else is in the batch.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from charnn.inference.engine import EngineState, Floats, IdArray
from charnn.inference.stepper import Stepper
from charnn.inference.threads import AdaptiveThreads
from charnn.sampling.selection import SelectedToken, TokenContext
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import Stream

MOST_STREAMS = 256
"""Streams that are stepped together, at most."""
FIRST_REVIEW, REVIEW_INTERVAL = 16, 256
"""Steps after which the number of threads is first reviewed, and then again each time."""


@dataclass(eq=False)
class Member:
    """A stream of a batch.

    Args:
        sampler: selects its tokens.
        position: tokens generated so far.
        resumed_from: the state and the logits of the next token, of a stream that was suspended; None for those of its prompt.
    """

    sampler: StreamSampler
    stream: Stream
    position: int = 0
    resumed_from: tuple[EngineState, Floats] | None = None

    @property
    def beginning(self) -> tuple[EngineState, Floats]:
        """The state with which it joins a batch, and the logits of its next token."""
        prompt = self.stream.prompt_state
        return self.resumed_from or (prompt.state, prompt.logits)


class StreamBatch:
    """Streams that are stepped together; each has options of its own.

    Args:
        stepper: of one stream in its initial state.
        threads: of the matrix products.
        on_failure: called with a stream whose next token could not be selected, and the error; the stream leaves the batch.
            Without it, the error is raised.
    """

    def __init__(
        self,
        stepper: Stepper,
        threads: AdaptiveThreads,
        *,
        on_failure: Callable[[Member, Exception], None] | None = None,
    ) -> None:
        self._single, self._threads, self._on_failure = stepper, threads, on_failure
        self._failed: set[Member] = set()
        self._stepper: Stepper | None = None
        self._logits_BV: Floats | None = None
        self._batched: list[Member] = []
        self._unbatched: list[Member] = []
        self._num_steps = 0

    @property
    def members(self) -> list[Member]:
        """The streams in progress."""
        return [*self._batched, *self._unbatched]

    def join(self, members: Sequence[Member]) -> None:
        """Add streams, new or suspended before, which take part from the next step on."""
        self._unbatched += [member for member in members if member.stream.is_unbatched]
        members = [member for member in members if not member.stream.is_unbatched]
        if not members:
            return
        states, logits = map(list, zip(*(member.beginning for member in members), strict=True))
        if self._stepper is not None and self._logits_BV is not None and self._batched:
            states, logits = [self._stepper.state(), *states], [self._logits_BV, *logits]
        self._batched = [*self._batched, *members]
        self._stepper = self._single.fork(_joined(states), len(self._batched))
        self._logits_BV = np.concatenate(logits)

    def suspend(self, members: Collection[Member]) -> None:
        """Take streams out, which may join again."""
        rows = [row for row, member in enumerate(self._batched) if member in members]
        if rows and self._stepper is not None and self._logits_BV is not None:
            state = self._stepper.state()
            for row in rows:
                own = tuple(tuple(part[row : row + 1].copy() for part in layer) for layer in state)
                self._batched[row].resumed_from = own, self._logits_BV[row : row + 1].copy()
        self.leave(lambda member: member in members)

    def leave(self, gone: Callable[[Member], bool]) -> None:
        """Drop the streams for which a condition holds."""
        self._unbatched = [member for member in self._unbatched if not gone(member)]
        self._keep([row for row, member in enumerate(self._batched) if not gone(member)])

    def _keep(self, rows: Sequence[int]) -> None:
        if len(rows) < len(self._batched):
            self._batched = [self._batched[row] for row in rows]
            if self._stepper is not None and self._logits_BV is not None and rows:
                self._stepper.keep(rows)
                self._logits_BV = self._logits_BV[list(rows)]

    def step(self) -> Iterator[tuple[Member, str]]:
        """Generate a token of each stream; yield the streams with new text or an end, and that text.

        The streams are read on when all updates were taken. A stream whose selections are close repeatedly leaves the batch.
        """
        batched, unbatched, tokens = self._batched, self._unbatched, dict[Member, SelectedToken]()
        for rows in _rows_by_options(batched, isolates_rules=self._on_failure is not None):
            assert self._logits_BV is not None
            members = [batched[row] for row in rows]
            sampler, position = members[0].sampler, members[0].position
            streams = [member.stream for member in members]
            logits_BV = self._logits_BV if len(rows) == len(batched) else self._logits_BV[rows]
            with self._isolated(members):
                log_probs_BV = sampler.log_probs(logits_BV, streams)
                draws_B = np.array([stream.next_draw() for stream in streams])
                contexts = [TokenContext(stream.context, stream.rules) for stream in streams]
                selected = sampler.selector.select(log_probs_BV, contexts, draws_B, position)
                with self._threads:
                    exact = sampler.exact(selected, log_probs_BV, streams, draws_B, position)
                tokens.update(zip(members, exact, strict=True))
        for member in unbatched:
            with self._isolated([member]), self._threads:
                tokens[member] = member.sampler.select_unbatched(
                    member.stream, member.stream.next_draw(), member.position
                )
        for member, token in tokens.items():
            text = self._extend(member, token)
            if text is not None:
                yield member, text
        self._read_on(batched, unbatched, tokens)

    def _read_on(
        self, batched: Sequence[Member], unbatched: Sequence[Member], tokens: Mapping[Member, SelectedToken]
    ) -> None:
        """Drop the streams that have ended or failed, and read the tokens of the others in the batch."""
        gone = self._failed
        self._unbatched = [
            member
            for member in (*unbatched, *batched)
            if member.stream.is_unbatched and not member.stream.sample.ended and member not in gone
        ]
        rows = [
            row
            for row, member in enumerate(batched)
            if not (member.stream.sample.ended or member.stream.is_unbatched or member in gone)
        ]
        self._keep(rows)
        self._failed = set()
        if rows:
            self._read(np.array([tokens[batched[row]].id for row in rows]))

    def _extend(self, member: Member, token: SelectedToken) -> str | None:
        """Append a token to a stream; return the text that is now certain, if there is something to report."""
        text = None
        try:
            text = member.sampler.extend(member.stream, token, member.position)
        except Exception as error:
            self._fail([member], error)
        member.position += 1
        return text

    @contextlib.contextmanager
    def _isolated(self, members: Sequence[Member]) -> Iterator[None]:
        """Let an error of some streams end only these."""
        try:
            yield
        except Exception as error:
            self._fail(members, error)

    def _fail(self, members: Sequence[Member], error: Exception) -> None:
        """Drop streams, or raise the error if nothing handles it."""
        if self._on_failure is None:
            raise error
        for member in members:
            self._failed.add(member)
            self._on_failure(member, error)

    def _read(self, ids_B: IdArray) -> None:
        assert self._stepper is not None
        with self._threads:
            review_threads(self._threads, self._stepper, self._num_steps)
            self._logits_BV = self._stepper.step(ids_B)
        self._num_steps += 1


def _rows_by_options(members: Sequence[Member], *, isolates_rules: bool) -> list[list[int]]:
    """Return the rows whose tokens can be selected together.

    Args:
        isolates_rules: whether a stream with rules, which may fail (see `Matching`), is selected from alone.
    """
    groups: dict[tuple[int, int, int], list[int]] = {}
    for row, member in enumerate(members):
        position = member.position if member.sampler.depends_on_position else 0
        alone = id(member) if isolates_rules and member.stream.rules else 0
        groups.setdefault((id(member.sampler), position, alone), []).append(row)
    return list(groups.values())


def _joined(states: Sequence[EngineState]) -> EngineState:
    """Return the states of several batches as one."""
    return tuple(
        tuple(np.concatenate(parts) for parts in zip(*layers, strict=True)) for layers in zip(*states, strict=True)
    )


def review_threads(threads: AdaptiveThreads, stepper: Stepper, num_steps: int) -> None:
    """Give BLAS the number of threads that is fastest now, timed on a copy of the stepper, if it is time for a review.

    Args:
        num_steps: steps so far.
    """
    if num_steps % REVIEW_INTERVAL != FIRST_REVIEW:
        return
    state = stepper.state()
    num_streams = len(state[0][0])
    trial, ids = stepper.fork(state, num_streams), np.zeros(num_streams, dtype=np.int64)
    threads.review(lambda: trial.step(ids))
