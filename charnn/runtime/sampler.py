"""Drawing new text from a model, token by token, many samples side by side.

A sample depends on its own seed alone. Products of many streams at once are rounded in their last bits otherwise than that of
one by itself; where a choice is so close that this could change it (see `filters`), the stream is read again by itself, and
what comes of that holds.
"""

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from charnn.config import SampleOptions
from charnn.ngrams.mixture import Mixture
from charnn.runtime.choosing import STUCK, Chooser, Writer, quick_draw
from charnn.runtime.context import Start, read_start
from charnn.runtime.ending import Ending, EndReason
from charnn.runtime.engine import Engine, Floats, log_softmax
from charnn.runtime.filters import LogProbs
from charnn.runtime.rules import Matching, NoRepeatedNgram, Pattern, Rule
from charnn.runtime.stepper import Stepper, stepper_for
from charnn.runtime.threads import BlasThreads
from charnn.text.tokenizers import Decoder, Tokenizer

CLOSE_NATS = 1e-5
"""What reading many streams at once may change, as far as a choice is concerned: 3e-6 in all but one of a hundred steps of
three models, never more than this."""
DRAWN_AT_ONCE = 256
SHORTEST_REVIEWED, REVIEWED_EVERY = 32, 256
"""After so many tokens, and then after so many more each time, it is asked whether to time the threads."""
MOST_STREAMS = 256
"""Samples that are written side by side, at most."""

Alternatives = list[tuple[int, float]]
"""Ids with their log probabilities in nats, likeliest first."""


@dataclass
class Sample:
    """One sample as it grows.

    Args:
        seed: decides its draws, whatever is drawn beside it.
        text: what was written, without the prompt.
        ids: its tokens, the closing boundary not among them.
        log_probs_nats: log probability of each token drawn, the closing boundary's last, mixed where that is asked for but
            before any filter.
        ended: why it is complete, None while it is not.
        alternatives: the likeliest tokens in the place of each one drawn, where asked for.
    """

    seed: int
    text: str = ""
    ids: list[int] = field(default_factory=list)
    log_probs_nats: list[float] = field(default_factory=list)
    ended: EndReason | None = None
    alternatives: list[Alternatives] = field(default_factory=list)

    @property
    def log_prob_nats(self) -> float:
        """The sum over all tokens drawn."""
        return sum(self.log_probs_nats)

    @property
    def perplexity(self) -> float | None:
        """e to the mean loss a token drawn, or None where none was."""
        return float(np.exp(-self.log_prob_nats / len(self.log_probs_nats))) if self.log_probs_nats else None


class Piece(NamedTuple):
    """News of a sample: its number, text that is now certain to be part of it, and the sample."""

    number: int
    text: str
    sample: Sample


class Plan(NamedTuple):
    """A sample to be written.

    Args:
        start: what the model has read before it.
        prompt: the text of that, for rules of lines.
        seed: of its draws.
    """

    start: Start
    prompt: str
    seed: int


class Stream:
    """A sample with what it needs to grow.

    Args:
        number: its place among the samples.
    """

    def __init__(self, number: int, plan: Plan, tokenizer: Tokenizer, options: SampleOptions) -> None:
        self.number = number
        self.plan = plan
        self.sample = Sample(plan.seed)
        self.context = plan.start.ids.copy()
        self.is_apart = False
        """Whether it is read by itself from now on."""
        self._alone: Stepper | None = None
        self._logits_alone = plan.start.logits
        self._num_read_alone = 0
        self._random = np.random.default_rng(plan.seed)
        self._draws: Iterator[float] = iter(())
        self._decoder = primed_decoder(tokenizer, plan.start.ids[1:])
        self._ending = Ending(options.stop, options.until, plan.prompt)
        self._ends_by_text = bool(options.stop) or options.until in ("sentence", "line")
        self.rules: list[Rule] = []
        if options.no_repeat_ngram:
            self.rules.append(NoRepeatedNgram(options.no_repeat_ngram, self.context))

    def hold_to(self, pattern: Pattern) -> None:
        """Let the text be only what may match a pattern."""
        self.rules.append(pattern.begin(self._decoder))

    def branch(self) -> "Stream":
        """Return another one that has written the same so far, and draws nothing."""
        other = copy.copy(self)
        sample = self.sample
        other.sample = replace(
            sample,
            ids=sample.ids.copy(),
            log_probs_nats=sample.log_probs_nats.copy(),
            alternatives=sample.alternatives.copy(),
        )
        other.context = self.context.copy()
        other._decoder = self._decoder.copy()
        other._ending = copy.copy(self._ending)
        other.rules = [rule.copy() for rule in self.rules]
        return other

    def next_draw(self) -> float:
        """Return a number in [0, 1)."""
        for found in self._draws:
            return found
        self._draws = iter(self._random.random(DRAWN_AT_ONCE).tolist())
        return next(self._draws)

    def read_alone(self, stepper: Stepper) -> Floats:
        """Return the logits (1, V) of what follows, read by a stepper of one stream.

        Of streams that are read together, one that comes here for the second time stays by itself: catching up costs more.
        """
        ids = self.sample.ids
        if self._alone is None:
            self._alone = stepper.fork(self.plan.start.state)
        elif len(ids) - self._num_read_alone > 1:
            self.is_apart = True
        for id in ids[self._num_read_alone :]:
            self._logits_alone = self._alone.step(np.array([id]))
        self._num_read_alone = len(ids)
        return self._logits_alone

    def take(self, id: int, log_prob_nats: float, tokenizer: Tokenizer) -> str:
        """Take the token that was chosen, which may close a line or document; return the text that is new."""
        self.sample.log_probs_nats.append(log_prob_nats)
        if tokenizer.unit != "stream" and id == tokenizer.vocabulary.boundary_id:
            return self.finish("unit")
        return self.add(id)

    def add(self, id: int) -> str:
        """Take a token of the text; return the text that is now certain to be part of the sample."""
        self.sample.ids.append(id)
        self.context.append(id)
        for rule in self.rules:
            rule.push(id)
        text = self._decoder.push(id)
        if self._ends_by_text:
            return self._release(text)
        self.sample.text += text
        return text

    def finish(self, reason: EndReason) -> str:
        """End the sample; return the text that was held back."""
        if self.sample.ended is not None:
            return ""
        fresh = self._release(self._decoder.flush())
        if self.sample.ended is None:
            self.sample.ended = reason
            held_back = self._ending.flush()
            self.sample.text += held_back
            fresh += held_back
        return fresh

    def stuck_reason(self) -> EndReason:
        """Return why nothing may follow."""
        matching = [rule for rule in self.rules if isinstance(rule, Matching)]
        return "match" if matching and matching[0].is_complete else "stuck"

    def _release(self, text: str) -> str:
        fresh, ended = self._ending.push(text)
        self.sample.text += fresh
        self.sample.ended = ended
        return fresh


def primed_decoder(tokenizer: Tokenizer, ids: Sequence[int]) -> Decoder:
    """Return a decoder that stands after some tokens, so that words are spaced as they follow them."""
    decoder = tokenizer.decoder()
    for id in ids:
        decoder.push(int(id))
    return decoder


class Sampler:
    """Writes samples by a user's options.

    Args:
        stepper: of one stream that has read nothing yet.
        mixture: the n-gram model to mix the network with.

    Raises:
        OptionError: for options that this model's tokens leave no sense to.
    """

    def __init__(
        self, stepper: Stepper, tokenizer: Tokenizer, options: SampleOptions, *, mixture: Mixture | None = None
    ) -> None:
        self._stepper, self._tokenizer, self._options, self._mixture = stepper, tokenizer, options, mixture
        self._chooser = Chooser(tokenizer, options)
        self._most_tokens = options.most_tokens
        needs_all = mixture is not None or options.show_alternatives > 0
        self._quick = None if needs_all else quick_draw(self._chooser, options, stepper.largest_logit)
        self._pattern = None if options.match is None else Pattern(options.match, tokenizer)
        self._threads = BlasThreads()
        self._together: list[Stream] = []
        self._apart: list[Stream] = []
        self.num_decided_alone = 0
        """Choices so far that were too close to be left to many streams at once."""

    def write(self, plans: Iterable[Plan]) -> Iterator[Piece]:
        """Write samples, as many side by side as pays.

        Yields:
            News of each, as soon as there is new text or it ends; its number is its place among the plans.
        """
        numbered = enumerate(plans)
        while group := list(itertools.islice(numbered, MOST_STREAMS)):
            streams = [Stream(number, plan, self._tokenizer, self._options) for number, plan in group]
            if self._pattern is not None:
                for stream in streams:
                    stream.hold_to(self._pattern)
            yield from self._write_group(streams)

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
        stepper, logits_1V = self._stepper.fork(stream.plan.start.state), stream.plan.start.logits
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
        starts = [stream.plan.start for stream in streams]
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
        log_probs_BV = log_softmax(logits_BV)
        if self._mixture is not None:
            for row, stream in enumerate(streams):
                log_probs_BV[row] = self._mixture.log_distribution(log_probs_BV[row], stream.context)
        return log_probs_BV

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
            fresh = stream.take(id, log_prob_nats, self._tokenizer)
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
    start = read_start(stepper, tokenizer, np.zeros(0, dtype=np.int64))
    (*_, last) = Sampler(stepper, tokenizer, options, mixture=mixture).write([Plan(start, "", seed)])
    return last.sample
