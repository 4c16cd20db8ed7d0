"""A batch of streams that are stepped together, which others may join and leave at any step.

A batched product rounds its last bits differently from that of a single stream; where a token selection is so close that this
could change it (see `filters`), the stream is read again unbatched, and that result is used. So a sample depends only on its
own seed, whatever else is in the batch.
"""

from collections.abc import Callable, Iterator, Sequence
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
    """

    sampler: StreamSampler
    stream: Stream
    position: int = 0


class StreamBatch:
    """Streams that are stepped together; each has options of its own.

    Args:
        stepper: of one stream in its initial state.
        threads: of the matrix products.
    """

    def __init__(self, stepper: Stepper, threads: AdaptiveThreads) -> None:
        self._single, self._threads = stepper, threads
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
        """Add new streams, which take part from the next step on."""
        states = [member.stream.prompt_state.state for member in members]
        logits = [member.stream.prompt_state.logits for member in members]
        if self._stepper is not None and self._logits_BV is not None and self._batched:
            states, logits = [self._stepper.state(), *states], [self._logits_BV, *logits]
        self._batched = [*self._batched, *members]
        self._stepper = self._single.fork(_joined(states), len(self._batched))
        self._logits_BV = np.concatenate(logits)

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
        batched, unbatched, selected_tokens = self._batched, self._unbatched, dict[int, SelectedToken]()
        for rows in _rows_by_options(batched):
            assert self._logits_BV is not None
            sampler, position = batched[rows[0]].sampler, batched[rows[0]].position
            streams = [batched[row].stream for row in rows]
            logits_BV = self._logits_BV if len(rows) == len(batched) else self._logits_BV[rows]
            log_probs_BV = sampler.log_probs(logits_BV, streams)
            draws_B = np.array([stream.next_draw() for stream in streams])
            contexts = [TokenContext(stream.context, stream.rules) for stream in streams]
            selected = sampler.selector.select(log_probs_BV, contexts, draws_B, position)
            with self._threads:
                exact = sampler.exact(selected, log_probs_BV, streams, draws_B, position)
            selected_tokens |= zip(rows, exact, strict=True)
        tokens = [selected_tokens[row] for row in range(len(batched))]
        with self._threads:
            tokens += [
                member.sampler.select_unbatched(member.stream, member.stream.next_draw(), member.position)
                for member in unbatched
            ]
        for member, token in zip([*batched, *unbatched], tokens, strict=True):
            text = member.sampler.extend(member.stream, token, member.position)
            member.position += 1
            if text is not None:
                yield member, text
        left = [member for member in (*unbatched, *batched) if member.stream.is_unbatched]
        self._unbatched = [member for member in left if not member.stream.sample.ended]
        rows = [
            row for row, member in enumerate(batched) if not (member.stream.sample.ended or member.stream.is_unbatched)
        ]
        self._keep(rows)
        if rows:
            self._read(np.array([tokens[row].id for row in rows]))

    def _read(self, ids_B: IdArray) -> None:
        assert self._stepper is not None
        with self._threads:
            review_threads(self._threads, self._stepper, self._num_steps)
            self._logits_BV = self._stepper.step(ids_B)
        self._num_steps += 1


def _rows_by_options(members: Sequence[Member]) -> list[list[int]]:
    """Return the rows whose tokens can be selected together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, member in enumerate(members):
        position = member.position if member.sampler.depends_on_position else 0
        groups.setdefault((id(member.sampler), position), []).append(row)
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
