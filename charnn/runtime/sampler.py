"""Drawing new text from a model, token by token."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from charnn.config import SampleOptions
from charnn.ngrams.mixture import Mixture
from charnn.runtime.context import read_context
from charnn.runtime.engine import Engine, EngineState, log_softmax
from charnn.runtime.filters import LogProbs, ban, keep_top_k, keep_top_p, normalised, temper
from charnn.text.tokenizers import Decoder, Tokenizer

EndReason = Literal["length", "stop", "unit"]


@dataclass
class Sample:
    """One sample as it grows.

    Args:
        seed: decides its draws, whatever is drawn beside it.
        text: what was written, without the prompt.
        ids: its tokens, the closing boundary not among them.
        log_prob_nats: sum of the log probabilities, mixed where that is asked for but before any filter, of all that
            was drawn.
        ended: why it is complete, None while it is not.
    """

    seed: int
    text: str
    ids: list[int]
    log_prob_nats: float
    ended: EndReason | None


class _Stream:
    """A sample with what it needs to grow."""

    def __init__(self, seed: int, decoder: Decoder, stop: str | None, context: list[int]) -> None:
        self.sample = Sample(seed, "", [], 0.0, None)
        self.context = context.copy()
        self.random = np.random.default_rng(seed)
        self._decoder = decoder
        self._stop = stop
        self._pending = ""

    def add(self, id: int) -> str:
        """Take one token; return the text that is now certain to be part of the sample."""
        self.sample.ids.append(id)
        self.context.append(id)
        return self._release(self._decoder.push(id))

    def finish(self, reason: EndReason) -> str:
        """End the sample; return the text that was held back."""
        if self.sample.ended is not None:
            return ""
        fresh = self._release(self._decoder.flush())
        if self.sample.ended is None:
            self.sample.text += self._pending
            self.sample.ended = reason
            fresh += self._pending
        return fresh

    def _release(self, text: str) -> str:
        if not self._stop:
            self.sample.text += text
            return text
        self._pending += text
        place = self._pending.find(self._stop)
        if place >= 0:
            fresh, self._pending = self._pending[:place], ""
            self.sample.ended = "stop"
        else:
            held = next(
                (size for size in range(len(self._stop) - 1, 0, -1) if self._pending.endswith(self._stop[:size])),
                0,
            )
            cut = len(self._pending) - held
            fresh, self._pending = self._pending[:cut], self._pending[cut:]
        self.sample.text += fresh
        return fresh


def generate(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: npt.NDArray[np.int64],
    options: SampleOptions,
    *,
    seed: int,
    mixture: Mixture | None = None,
) -> Iterator[tuple[int, str, Sample]]:
    """Write samples side by side after one prompt.

    Args:
        prompt: its ids (N,).
        options: how to draw.
        seed: that of the first sample; number i has seed + i.
        mixture: the n-gram model to mix the network with.

    Yields:
        (number of the sample, new text, the sample), as soon as there is new text or the sample ends.
    """
    logits, state = read_context(engine, tokenizer, prompt)
    decoders = [_primed_decoder(tokenizer, prompt) for _ in range(options.num_samples)]
    context = [tokenizer.vocabulary.boundary_id, *prompt.tolist()]
    streams = [_Stream(seed + number, decoder, options.stop, context) for number, decoder in enumerate(decoders)]
    growing = list(range(options.num_samples))
    logits = np.repeat(logits, options.num_samples, axis=0)
    state = tuple(tuple(np.repeat(part, options.num_samples, axis=0) for part in layer) for layer in state)
    for count in range(1, options.length + 1):
        log_probs = log_softmax(logits)
        if mixture is not None:
            for row, number in enumerate(growing):
                log_probs[row] = mixture.log_distribution(log_probs[row], streams[number].context)
        ids = _draw(log_probs, [streams[number].random for number in growing], tokenizer, options)
        kept = []
        for row, number in enumerate(growing):
            stream, id = streams[number], int(ids[row])
            stream.sample.log_prob_nats += float(log_probs[row, id])
            if tokenizer.unit != "stream" and id == tokenizer.vocabulary.boundary_id:
                fresh = stream.finish("unit")
            else:
                fresh = stream.add(id)
                fresh += stream.finish("length") if count == options.length else ""
            if fresh or stream.sample.ended:
                yield number, fresh, stream.sample
            if stream.sample.ended is None:
                kept.append(row)
        if not kept:
            return
        if len(kept) < len(growing):
            growing, ids, state = [growing[row] for row in kept], ids[kept], _rows(state, kept)
        logits, state = engine.step(ids, state)


def _primed_decoder(tokenizer: Tokenizer, prompt: npt.NDArray[np.int64]) -> Decoder:
    """Return a decoder that stands after the prompt, so that words are spaced as they follow it."""
    decoder = tokenizer.decoder()
    for id in prompt:
        decoder.push(int(id))
    return decoder


def _rows(state: EngineState, rows: list[int]) -> EngineState:
    return tuple(tuple(part[rows] for part in layer) for layer in state)


def _draw(
    log_probs_BV: LogProbs, random: list[np.random.Generator], tokenizer: Tokenizer, options: SampleOptions
) -> npt.NDArray[np.int64]:
    """Draw one token for each stream. The sampler never writes <unk>."""
    unknown = tokenizer.vocabulary.unknown_id
    allowed = log_probs_BV if unknown is None else ban(log_probs_BV, unknown)
    if options.greedy or options.temperature == 0:
        return np.asarray(np.argmax(allowed, axis=1))
    if options.temperature != 1:
        allowed = temper(allowed, options.temperature)
    if options.top_k is not None:
        allowed = keep_top_k(allowed, options.top_k)
    if options.top_p is not None:
        allowed = keep_top_p(allowed, options.top_p)
    cumulative = np.cumsum(normalised(allowed), axis=1)
    draws = np.array([generator.random() for generator in random])
    return np.asarray(np.count_nonzero(cumulative <= (draws * cumulative[:, -1])[:, None], axis=1))
