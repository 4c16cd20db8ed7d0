"""Drawing new text from a model, token by token, many samples side by side.

A sample depends on its own seed alone. Products of many streams at once are rounded in their last bits otherwise than that of
one by itself; where a choice is so close that this could change it (see `filters`), the stream is read again by itself, and
what comes of that holds.
"""

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.engine import Engine, Floats
from charnn.inference.prompt import prefill
from charnn.inference.stepper import Stepper, stepper_for
from charnn.inference.threads import AdaptiveThreads
from charnn.ngrams.mixture import Mixture
from charnn.sampling.constraints import Pattern
from charnn.sampling.filters import LogProbs
from charnn.sampling.selection import STUCK, TokenSelector, Writer, mixed_log_softmax, quick_draw
from charnn.sampling.streams import Alternatives, Opening, Plan, Sample, Stream
from charnn.text.tokenizers import Tokenizer

CLOSE_NATS = 1e-5
"""What reading many streams at once may change, as far as a choice is concerned: 3e-6 in all but one of a hundred steps of
three models, never more than this."""
SHORTEST_REVIEWED, REVIEWED_EVERY = 16, 256
"""After so many tokens, and then after so many more each time, it is asked whether to time the threads."""
MOST_STREAMS = 256
"""Samples that are written side by side, at most."""


class Piece(NamedTuple):
    """News of a sample: its number, text that is now certain to be part of it, and the sample."""

    number: int
    text: str
    sample: Sample


class Sampler:
    """Writes samples by a user's options.

    Args:
        stepper: of one stream that has read nothing yet.
        mixture: the n-gram model to mix the network with.
        keeps_history: whether samples remember what was written; one that is only streamed need not.

    Raises:
        OptionError: for options that this model's tokens leave no sense to.
    """

    def __init__(
        self,
        stepper: Stepper,
        tokenizer: Tokenizer,
        options: SampleOptions,
        *,
        mixture: Mixture | None = None,
        keeps_history: bool = True,
    ) -> None:
        self._stepper, self._tokenizer, self._options, self._mixture = stepper, tokenizer, options, mixture
        self._chooser = TokenSelector(tokenizer, options)
        self._keeps_history = keeps_history
        self._opening: Opening | None = None
        self._most_tokens = options.max_tokens
        needs_all = mixture is not None or options.show_alternatives > 0
        self._quick = None if needs_all else quick_draw(self._chooser, options, stepper.largest_logit)
        self._pattern = None if options.match is None else Pattern(options.match, tokenizer)
        self._threads = AdaptiveThreads()
        self._together: list[Stream] = []
        self._apart: list[Stream] = []
        self.num_decided_alone = 0
        """Choices so far that were too close to be left to many streams at once."""

    def write(self, plans: Iterable[Plan]) -> Iterator[Piece]:
        """Write samples, as many side by side as pays.

        Yields:
            News of each, as soon as there is new text or it ends; its number is its place among the plans.
        """
        pieces = self._write_groups(plans)
        try:
            while True:
                with self._threads:
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece
        finally:
            pieces.close()

    def _write_groups(self, plans: Iterable[Plan]) -> Generator[Piece, None, None]:
        numbered = enumerate(plans)
        while group := list(itertools.islice(numbered, MOST_STREAMS)):
            yield from self._write_group([self._stream(number, plan) for number, plan in group])

    def _stream(self, number: int, plan: Plan) -> Stream:
        if self._opening is None or self._opening.start is not plan.start:
            self._opening = Opening(plan.start, self._tokenizer, self._options, self._pattern)
        return Stream(number, self._opening, plan.seed, keeps_history=self._keeps_history)

    def interrupt(self) -> list[Piece]:
        """End all samples that are being written, as they are."""
        growing = sorted([*self._together, *self._apart], key=lambda stream: stream.number)
        self._together, self._apart = [], []
        return [Piece(stream.number, stream.finish("interrupted"), stream.sample) for stream in growing]

    def _write_group(self, streams: list[Stream]) -> Iterator[Piece]:
        if len(streams) == 1:
            self._apart = streams
            yield from self._write_one(streams[0])
            self._apart = []
            return
        yield from self._write_together(streams)
        for place in itertools.count(len(self._apart[0].sample.ids) if self._apart else 0):
            if not self._apart:
                return
            yield from self._grow_apart(place)

    def _write_one(self, stream: Stream) -> Iterator[Piece]:
        """Write one stream that nothing else is beside."""
        stepper, logits_1V = self._stepper.fork(stream.start.state), stream.start.logits
        for place in itertools.count():
            if place % REVIEWED_EVERY == SHORTEST_REVIEWED:
                self._review_threads(stepper)
            id, nats, log_probs_V = self._choose_from(logits_1V, stream, place, stream.next_draw())
            piece = self._extend(stream, id, place, nats, log_probs_V)
            if piece is not None:
                yield piece
                if stream.sample.ended is not None:
                    return
            logits_1V = stepper.step(np.array([id]))

    def _write_together(self, streams: list[Stream]) -> Iterator[Piece]:
        """Write streams side by side until none is left but those that are read by themselves."""
        starts = [stream.start for stream in streams]
        logits_BV = np.concatenate([start.logits for start in starts])
        states = zip(*(start.state for start in starts), strict=True)
        joined = tuple(tuple(np.concatenate(parts) for parts in zip(*layer, strict=True)) for layer in states)
        stepper = self._stepper.fork(joined, len(starts))
        self._together = streams
        for place in itertools.count():
            if place % REVIEWED_EVERY == SHORTEST_REVIEWED:
                self._review_threads(stepper)
            log_probs_BV = self._log_probs(logits_BV, self._together)
            ids = self._choose(log_probs_BV, place)
            for row, (stream, id) in enumerate(zip(self._together, ids, strict=True)):
                piece = self._extend(stream, id, place, float(log_probs_BV[row, id]), log_probs_BV[row])
                if piece is not None:
                    yield piece
            yield from self._grow_apart(place)
            kept = [row for row, stream in enumerate(self._together) if not (stream.sample.ended or stream.is_apart)]
            if len(kept) < len(self._together):
                self._apart += [stream for stream in self._together if stream.is_apart and not stream.sample.ended]
                self._together = [self._together[row] for row in kept]
                if not kept:
                    return
                stepper.keep(kept)
            logits_BV = stepper.step(np.array([stream.sample.ids[-1] for stream in self._together]))

    def _review_threads(self, stepper: Stepper) -> None:
        """Let BLAS have as many threads as are quickest just now, timed on a copy."""
        state = stepper.state()
        num_streams = len(state[0][0])
        trial, ids = stepper.fork(state, num_streams), np.zeros(num_streams, dtype=np.int64)
        self._threads.review(lambda: trial.step(ids))

    def _grow_apart(self, place: int) -> Iterator[Piece]:
        """Add a token to each stream that is read by itself."""
        has_ended = False
        for stream in self._apart:
            logits_1V = stream.read_alone(self._stepper)
            id, nats, log_probs_V = self._choose_from(logits_1V, stream, place, stream.next_draw())
            piece = self._extend(stream, id, place, nats, log_probs_V)
            if piece is not None:
                yield piece
            has_ended = has_ended or stream.sample.ended is not None
        if has_ended:
            self._apart = [stream for stream in self._apart if not stream.sample.ended]

    def _log_probs(self, logits_BV: Floats, streams: Sequence[Stream]) -> LogProbs:
        return mixed_log_softmax(logits_BV, [stream.context for stream in streams], self._mixture)

    def _choose(self, log_probs_BV: LogProbs, place: int) -> list[int]:
        """Choose the next token of each stream that is read together with others."""
        streams = self._together
        draws_B = np.array([stream.next_draw() for stream in streams])
        writers = [Writer(stream.context, stream.rules) for stream in streams]
        choice = self._chooser.choose(log_probs_BV, writers, draws_B, place)
        ids: list[int] = choice.ids_B.tolist()
        for row in np.flatnonzero(choice.margin_B < CLOSE_NATS).tolist():
            self.num_decided_alone += 1
            stream = streams[row]
            ids[row], _, _ = self._choose_from(stream.read_alone(self._stepper), stream, place, float(draws_B[row]))
        return ids

    def _choose_from(
        self, logits_1V: Floats, stream: Stream, place: int, draw: float
    ) -> tuple[int, float, LogProbs | None]:
        """Choose the next token of one stream, read by itself.

        Returns:
            The token, its log probability in nats, and all of them (V,) where they were needed.
        """
        if self._quick is not None:
            chosen = self._quick(logits_1V[0], draw, self._chooser.temperature(place))
            if chosen is not None:
                return (*chosen, None)
        log_probs_1V = self._log_probs(logits_1V, [stream])
        writer = Writer(stream.context, stream.rules)
        choice = self._chooser.choose(log_probs_1V, [writer], np.array([draw]), place)
        id = int(choice.ids_B[0])
        return id, float(log_probs_1V[0, id]), log_probs_1V[0]

    def _extend(
        self, stream: Stream, id: int, place: int, log_prob_nats: float, log_probs_V: LogProbs | None
    ) -> Piece | None:
        """Add a token to a stream; return what is new."""
        if id == STUCK:
            fresh = stream.finish(stream.stuck_reason())
        else:
            if self._options.show_alternatives and log_probs_V is not None:
                likeliest = likeliest_tokens(log_probs_V, self._options.show_alternatives)
                stream.sample.alternatives.append(likeliest)
            fresh = stream.take(id, log_prob_nats)
            if place + 1 == self._most_tokens:
                fresh += stream.finish("length")
        if fresh or stream.sample.ended or self._options.show_alternatives:
            return Piece(stream.number, fresh, stream.sample)
        return None


def likeliest_tokens(log_probs_V: LogProbs, count: int) -> Alternatives:
    """Return the likeliest tokens, by the model alone."""
    order = np.argsort(-log_probs_V, kind="stable")[:count].tolist()
    return [(id, float(log_probs_V[id])) for id in order]


def write_sample(
    engine: Engine, tokenizer: Tokenizer, options: SampleOptions, *, seed: int, mixture: Mixture | None = None
) -> Sample:
    """Write one sample from the start of a text, and return it."""
    stepper = stepper_for(engine, engine.initial_state())
    start = prefill(stepper, tokenizer, np.zeros(0, dtype=np.int64))
    (*_, last) = Sampler(stepper, tokenizer, options, mixture=mixture).write([Plan(start, seed)])
    return last.sample
