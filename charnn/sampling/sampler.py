"""Sampling text from a model, token by token; see `batch` for samples that are generated together."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.engine import Engine
from charnn.inference.prompt import prefill
from charnn.inference.stepper import stepper_for
from charnn.inference.threads import AdaptiveThreads
from charnn.ngrams.mixture import Mixture
from charnn.sampling.batch import MOST_STREAMS, Member, StreamBatch, review_threads
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import Sample, SampleRequest, Stream
from charnn.text.tokenizers import Tokenizer


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
        streams: selects their tokens.
    """

    def __init__(self, streams: StreamSampler) -> None:
        self._streams, self._stepper = streams, streams.stepper
        self._threads = AdaptiveThreads()
        self._batch: StreamBatch | None = None
        self._alone: Stream | None = None

    @property
    def num_recomputed(self) -> int:
        """Selections so far that were too close for a batch and recomputed unbatched."""
        return self._streams.num_recomputed

    def generate(self, requests: Iterable[SampleRequest]) -> Iterator[SampleUpdate]:
        """Generate samples, up to `MOST_STREAMS` of them in a batch.

        Yields:
            An update whenever a sample has new text or ends; its number is the index of its request.
        """
        numbered = enumerate(requests)
        while group := list(itertools.islice(numbered, MOST_STREAMS)):
            streams = self._streams.streams(group)
            if len(streams) == 1:
                yield from self._generate_single(streams[0])
                continue
            self._batch = StreamBatch(self._stepper, self._threads)
            self._batch.join([Member(self._streams, stream) for stream in streams])
            while self._batch is not None and self._batch.members:
                for member, text in self._batch.step():
                    yield SampleUpdate(member.stream.number, text, member.stream.sample)
            self._batch = None

    def interrupt(self) -> list[SampleUpdate]:
        """End all samples in progress as they are."""
        streams = [member.stream for member in self._batch.members] if self._batch else []
        streams += [self._alone] if self._alone else []
        self._batch = self._alone = None
        streams.sort(key=lambda stream: stream.number)
        return [SampleUpdate(stream.number, stream.finish("interrupted"), stream.sample) for stream in streams]

    def _generate_single(self, stream: Stream) -> Iterator[SampleUpdate]:
        """Generate one sample."""
        self._alone = stream
        stepper, logits_1V = self._stepper.fork(stream.prompt_state.state), stream.prompt_state.logits
        for position in itertools.count():
            uniform = stream.next_draw()
            token = self._streams.quick_draw(logits_1V[0], uniform, self._streams.selector.temperature(position))
            if token is None:
                token = self._streams.select_slowly(logits_1V, stream, uniform, position)
            text = self._streams.extend(stream, token, position)
            if text is not None:
                yield SampleUpdate(stream.number, text, stream.sample)
            if stream.sample.ended is not None:
                break
            with self._threads:
                review_threads(self._threads, stepper, position)
                logits_1V = stepper.step(np.array([token.id]))
        self._alone = None


def generate_sample(
    engine: Engine, tokenizer: Tokenizer, options: SampleOptions, *, seed: int, mixture: Mixture | None = None
) -> Sample:
    """Return one sample without a prompt."""
    stepper = stepper_for(engine, engine.initial_state())
    prompt_state = prefill(stepper, tokenizer, np.zeros(0, dtype=np.int64))
    sampler = Sampler(StreamSampler(stepper, tokenizer, options, mixture=mixture))
    (*_, last) = sampler.generate([SampleRequest(prompt_state, seed)])
    return last.sample
