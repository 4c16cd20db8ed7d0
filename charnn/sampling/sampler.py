"""Sampling text from a model, token by token, in batches of streams.

A sample depends only on its own seed. A batched product rounds its last bits differently from that of a single stream; where
a token selection is so close that this could change it (see `filters`), the stream is read again unbatched, and that result
is used.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
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
from charnn.sampling.selection import (
    STUCK,
    SelectedToken,
    SelectedTokens,
    TokenContext,
    TokenSelector,
    mixed_log_softmax,
    no_quick_draw,
    quick_draw,
)
from charnn.sampling.streams import Alternatives, PreparedPrompt, Sample, SampleRequest, Stream
from charnn.text.tokenizers import Tokenizer

CLOSE_NATS = 1e-5
"""The largest change of a selection's margin by batching: 3e-6 in all but one of a hundred steps of three models, never more
than this."""
FIRST_REVIEW, REVIEW_INTERVAL = 16, 256
"""Tokens after which the number of threads is first reviewed, and then again each time."""
MOST_STREAMS = 256
"""Samples that are generated in one batch, at most."""


class SampleUpdate(NamedTuple):
    """A change of a sample: its number, text that is now certain to be part of it, and the sample so far.

    Example:
        >>> number, text, sample = next(sampler.generate(charnn.api.sample_requests(prompts, options, seed=7)))
    """

    number: int
    text: str
    sample: Sample


class Sampler:
    """Samples text by a user's options.

    Args:
        stepper: of one stream in its initial state.
        mixture: the n-gram model to interpolate the network with.
        keeps_history: whether samples store their text and tokens, which one that is only streamed need not.

    Raises:
        OptionError: for options that exclude all of this model's tokens.
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
        self._selector = TokenSelector(tokenizer, options)
        self._keeps_history = keeps_history
        self._prompt: PreparedPrompt | None = None
        self._max_tokens = options.max_tokens
        needs_all = mixture is not None or options.show_alternatives > 0
        largest_logit = stepper.largest_logit
        self._quick_draw = no_quick_draw if needs_all else quick_draw(self._selector, options, largest_logit)
        self._pattern = None if options.match is None else Pattern(options.match, tokenizer)
        self._threads = AdaptiveThreads()
        self._batched: list[Stream] = []
        self._unbatched: list[Stream] = []
        self.num_recomputed = 0
        """Selections so far that were too close for a batch and recomputed unbatched."""

    def generate(self, requests: Iterable[SampleRequest]) -> Iterator[SampleUpdate]:
        """Generate samples, up to `MOST_STREAMS` of them in a batch.

        Yields:
            An update whenever a sample has new text or ends; its number is the index of its request.
        """
        numbered = enumerate(requests)
        while group := list(itertools.islice(numbered, MOST_STREAMS)):
            streams = [self._stream(number, request) for number, request in group]
            yield from self._generate_single(streams[0]) if len(streams) == 1 else self._generate_batch(streams)

    def _stream(self, number: int, request: SampleRequest) -> Stream:
        if self._prompt is None or self._prompt.state is not request.prompt_state:
            self._prompt = PreparedPrompt(request.prompt_state, self._tokenizer, self._options, self._pattern)
        return Stream(number, self._prompt, request.seed, keeps_history=self._keeps_history)

    def interrupt(self) -> list[SampleUpdate]:
        """End all samples in progress as they are."""
        streams = sorted([*self._batched, *self._unbatched], key=lambda stream: stream.number)
        self._batched, self._unbatched = [], []
        return [SampleUpdate(stream.number, stream.finish("interrupted"), stream.sample) for stream in streams]

    def _generate_single(self, stream: Stream) -> Iterator[SampleUpdate]:
        """Generate one sample."""
        self._batched, self._unbatched = [], [stream]
        stepper, logits_1V = self._stepper.fork(stream.prompt_state.state), stream.prompt_state.logits
        for position in itertools.count():
            uniform = stream.next_draw()
            token = self._quick_draw(logits_1V[0], uniform, self._selector.temperature(position))
            if token is None:
                token = self._select_exactly(logits_1V, stream, uniform, position)
            update = self._extend(stream, token, position)
            if update is not None:
                yield update
            if stream.sample.ended is not None:
                break
            with self._threads:
                if position % REVIEW_INTERVAL == FIRST_REVIEW:
                    self._review_threads(stepper)
                logits_1V = stepper.step(np.array([token.id]))
        self._unbatched = []

    def _generate_batch(self, streams: list[Stream]) -> Iterator[SampleUpdate]:
        """Generate samples in a batch; a stream whose selections are close repeatedly leaves it."""
        stepper, logits_BV = self._batch_stepper(streams)
        self._batched, self._unbatched = streams, []
        for position in itertools.count():
            batched, unbatched, tokens = self._batched, self._unbatched, list[SelectedToken]()
            if batched:
                log_probs_BV = self._log_probs(logits_BV, batched)
                draws_B = np.array([stream.next_draw() for stream in batched])
                contexts = [TokenContext(stream.context, stream.rules) for stream in batched]
                selected = self._selector.select(log_probs_BV, contexts, draws_B, position)
                tokens = self._recompute_close(selected, log_probs_BV, draws_B, position)
            tokens += [self._select_unbatched(stream, stream.next_draw(), position) for stream in unbatched]
            for stream, token in zip([*batched, *unbatched], tokens, strict=True):
                update = self._extend(stream, token, position)
                if update is not None:
                    yield update
            rows = [row for row, stream in enumerate(batched) if not (stream.sample.ended or stream.is_unbatched)]
            self._batched = [batched[row] for row in rows]
            self._unbatched = [
                stream for stream in (*unbatched, *batched) if stream.is_unbatched and not stream.sample.ended
            ]
            if not self._batched and not self._unbatched:
                return
            if rows:
                if len(rows) < len(batched):
                    stepper.keep(rows)
                with self._threads:
                    if position % REVIEW_INTERVAL == FIRST_REVIEW:
                        self._review_threads(stepper)
                    logits_BV = stepper.step(np.array([tokens[row].id for row in rows]))

    def _batch_stepper(self, streams: Sequence[Stream]) -> tuple[Stepper, Floats]:
        """Return a stepper of streams after their prompts, and the logits (B, V) of what follows."""
        prompts = [stream.prompt_state for stream in streams]
        states = zip(*(prompt.state for prompt in prompts), strict=True)
        joined = tuple(tuple(np.concatenate(parts) for parts in zip(*layer, strict=True)) for layer in states)
        return self._stepper.fork(joined, len(prompts)), np.concatenate([prompt.logits for prompt in prompts])

    def _review_threads(self, stepper: Stepper) -> None:
        """Give BLAS the number of threads that is fastest now, timed on a copy of the stepper."""
        state = stepper.state()
        num_streams = len(state[0][0])
        trial, ids = stepper.fork(state, num_streams), np.zeros(num_streams, dtype=np.int64)
        self._threads.review(lambda: trial.step(ids))

    def _log_probs(self, logits_BV: Floats, streams: Sequence[Stream]) -> LogProbs:
        return mixed_log_softmax(logits_BV, [stream.context for stream in streams], self._mixture)

    def _recompute_close(
        self, selected: SelectedTokens, log_probs_BV: LogProbs, draws_B: LogProbs, position: int
    ) -> list[SelectedToken]:
        """Return the selected token of each batched stream, those that were too close to another one recomputed."""
        ids: list[int] = selected.ids_B.tolist()
        for row in np.flatnonzero(selected.margin_B < CLOSE_NATS).tolist():
            self.num_recomputed += 1
            ids[row] = self._select_unbatched(self._batched[row], float(draws_B[row]), position).id
        return [SelectedToken(id, float(log_probs_BV[row, id]), log_probs_BV[row]) for row, id in enumerate(ids)]

    def _select_unbatched(self, stream: Stream, uniform: float, position: int) -> SelectedToken:
        """Return the next token of a stream by logits that do not depend on other streams."""
        with self._threads:
            logits_1V = stream.read_unbatched(self._stepper)
        token = self._quick_draw(logits_1V[0], uniform, self._selector.temperature(position))
        return self._select_exactly(logits_1V, stream, uniform, position) if token is None else token

    def _select_exactly(self, logits_1V: Floats, stream: Stream, uniform: float, position: int) -> SelectedToken:
        """Return the next token of one stream by `TokenSelector`, with the log probabilities of all tokens."""
        log_probs_1V = self._log_probs(logits_1V, [stream])
        contexts = [TokenContext(stream.context, stream.rules)]
        id = int(self._selector.select(log_probs_1V, contexts, np.array([uniform]), position).ids_B[0])
        return SelectedToken(id, float(log_probs_1V[0, id]), log_probs_1V[0])

    def _extend(self, stream: Stream, token: SelectedToken, position: int) -> SampleUpdate | None:
        """Add a token to a stream; return what changed, or None."""
        num_alternatives = self._options.show_alternatives
        if token.id == STUCK:
            new_text = stream.finish(stream.stuck_reason())
        else:
            if num_alternatives and token.log_probs_V is not None:
                stream.sample.alternatives.append(top_tokens(token.log_probs_V, num_alternatives))
            new_text = stream.take(token.id, token.log_prob_nats)
            if position + 1 == self._max_tokens:
                new_text += stream.finish("length")
        if new_text or stream.sample.ended or num_alternatives:
            return SampleUpdate(stream.number, new_text, stream.sample)
        return None


def top_tokens(log_probs_V: LogProbs, count: int) -> Alternatives:
    """Return the most probable tokens and their log probabilities, in descending order."""
    order = np.argsort(-log_probs_V, kind="stable")[:count].tolist()
    return [(id, float(log_probs_V[id])) for id in order]


def generate_sample(
    engine: Engine, tokenizer: Tokenizer, options: SampleOptions, *, seed: int, mixture: Mixture | None = None
) -> Sample:
    """Return one sample without a prompt."""
    stepper = stepper_for(engine, engine.initial_state())
    prompt_state = prefill(stepper, tokenizer, np.zeros(0, dtype=np.int64))
    sampler = Sampler(stepper, tokenizer, options, mixture=mixture)
    (*_, last) = sampler.generate([SampleRequest(prompt_state, seed)])
    return last.sample
