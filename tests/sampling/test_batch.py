"""Streams that join and leave a batch at any step, each with options of its own."""

import numpy as np
import pytest

from charnn.config import SampleOptions
from charnn.inference.prompt import prefill
from charnn.inference.stepper import stepper_for
from charnn.inference.threads import AdaptiveThreads
from charnn.sampling import stream_sampler
from charnn.sampling.batch import Member, StreamBatch
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import SampleRequest
from tests.sampling.test_sampler import LETTERS, LINES, engine_for

OPTIONS = (
    {},
    {"temperature": 0.5, "top_p": 0.9},
    {"greedy": True},
    {"temperature": 2.0, "final_temperature": 0.1},
    {"stop": ("ca",), "no_repeat_ngram": 6},
)


def alone(stepper, tokenizer, start, options, seed):
    (*_, last) = Sampler(StreamSampler(stepper, tokenizer, options)).generate([SampleRequest(start, seed)])
    return last.sample


@pytest.mark.parametrize("close", [1e-5, 1e-2], ids=["usual", "often"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "mogrifier"])
@pytest.mark.parametrize("tokenizer", [LETTERS, LINES], ids=["stream", "line"])
def test_streams_that_join_at_any_step_are_the_same_as_alone(cell, tokenizer, close, monkeypatch):
    monkeypatch.setattr(stream_sampler, "CLOSE_NATS", close)
    engine, random = engine_for(tokenizer, cell), np.random.default_rng(5)
    stepper = stepper_for(engine, engine.initial_state())
    batch, streamed, wanted = StreamBatch(stepper, AdaptiveThreads()), {}, {}
    options = [SampleOptions(**{"length": 30, **chosen}) for chosen in OPTIONS]
    samplers = [StreamSampler(stepper, tokenizer, chosen) for chosen in options]
    for number in range(20):
        kind, start = number % len(options), prefill(stepper, tokenizer, tokenizer.encode("abca"[: number % 4]))
        stream = samplers[kind].streams([(number, SampleRequest(start, number))])[0]
        batch.join([Member(samplers[kind], stream)])
        wanted[number] = alone(stepper, tokenizer, start, options[kind], number)
        for _ in range(random.integers(0, 6)):
            for member, text in batch.step():
                streamed[member.stream.number] = streamed.get(member.stream.number, "") + text
    while batch.members:
        for member, text in batch.step():
            streamed[member.stream.number] = streamed.get(member.stream.number, "") + text
    assert {number: streamed.get(number, "") for number in wanted} == {
        number: sample.text for number, sample in wanted.items()
    }


def test_a_stream_that_leaves_is_not_stepped_any_further_and_the_others_are():
    engine = engine_for(LETTERS)
    stepper = stepper_for(engine, engine.initial_state())
    start, options = prefill(stepper, LETTERS, LETTERS.encode("a")), SampleOptions(length=12)
    sampler, batch = StreamSampler(stepper, LETTERS, options), StreamBatch(stepper, AdaptiveThreads())
    members = [Member(sampler, sampler.streams([(number, SampleRequest(start, number))])[0]) for number in range(3)]
    batch.join(members)
    for _ in range(4):
        list(batch.step())
    batch.leave(lambda member: member.stream.number == 1)
    while batch.members:
        list(batch.step())
    assert [len(member.stream.sample.ids) for member in members] == [12, 4, 12]
    assert members[2].stream.sample.text == alone(stepper, LETTERS, start, options, 2).text
    batch.leave(lambda _: True)
    assert batch.members == []
