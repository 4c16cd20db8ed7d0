"""The thread that generates for several clients: fairness, failures of one of them, interruption."""

import threading

import numpy as np
import pytest

from charnn.config import SampleOptions
from charnn.inference.prompt import prefill
from charnn.inference.stepper import stepper_for
from charnn.sampling import constraints, generation
from charnn.sampling.batch import Member
from charnn.sampling.generation import Generation, QueueFullError
from charnn.sampling.jobs import STEPS_PER_TURN, Job, Schedule
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import SampleRequest
from tests.sampling.test_sampler import LETTERS, engine_for


@pytest.fixture
def made(monkeypatch):
    """A generating thread with eight places, and a function that starts a job and returns it with its texts."""
    monkeypatch.setattr(generation, "MOST_STREAMS", 8)
    engine = engine_for(LETTERS)
    stepper = stepper_for(engine, engine.initial_state())
    state = prefill(stepper, LETTERS, LETTERS.encode("a"))
    running = Generation(stepper, LETTERS, mixture=lambda: None, max_waiting=40)
    yield running, stepper, state
    running.close()


class Collected:
    """What a job delivers."""

    def __init__(self, running, state, count, **options):
        self.texts, self.ends, self.errors = [""] * count, [None] * count, []
        self.is_complete, self.order = threading.Event(), []
        requests = [SampleRequest(state, seed) for seed in range(count)]
        self.job = running.job(SampleOptions(**options), requests, self.take)
        running.submit(self.job)

    def take(self, updates):
        for update in updates:
            self.errors += [update.error] if update.error else []
            self.texts[update.index] += update.text
            self.ends[update.index] = update.ended
        if self.errors or all(self.ends):
            self.is_complete.set()

    def wait(self):
        assert self.is_complete.wait(60)
        return self


def alone(stepper, state, seed, **options):
    (*_, last) = Sampler(StreamSampler(stepper, LETTERS, SampleOptions(**options))).generate(
        [SampleRequest(state, seed)]
    )
    return last.sample.text


def test_a_small_job_is_complete_long_before_a_large_one_and_both_are_as_alone(made):
    running, stepper, state = made
    large = Collected(running, state, 20, length=400)
    small = Collected(running, state, 1, length=10).wait()
    assert not large.is_complete.is_set()
    assert small.texts == [alone(stepper, state, 0, length=10)]
    large.wait()
    assert large.texts == [alone(stepper, state, seed, length=400) for seed in range(20)]
    assert running.num_streams == 0


def test_more_jobs_than_places_take_turns(made):
    running, stepper, state = made
    long = [Collected(running, state, 1, length=20_000) for _ in range(8)]
    short = Collected(running, state, 1, length=20).wait()
    assert not any(each.is_complete.is_set() for each in long)
    assert short.texts == [alone(stepper, state, 0, length=20)]
    for each in long:
        running.cancel(each.job)


def test_a_job_whose_streams_fail_ends_alone(made, monkeypatch):
    running, stepper, state = made
    monkeypatch.setattr(constraints, "MATCH_SECONDS", 0.01)
    other = Collected(running, state, 2, length=300)
    failing = Collected(running, state, 2, length=300, match="(a|b|c|(?:[abc]|[abc ])+)+!").wait()
    assert "took over" in str(failing.errors[0])
    assert other.wait().texts == [alone(stepper, state, seed, length=300) for seed in range(2)]
    assert other.errors == []


def test_all_samples_end_when_generation_is_interrupted(made):
    running, stepper, state = made
    jobs = [Collected(running, state, 12, length=100_000) for _ in range(2)]
    beginning = alone(stepper, state, 0, length=50)
    running.interrupt()
    for job in jobs:
        job.wait()
        assert job.ends == ["interrupted"] * 12
        assert beginning.startswith(job.texts[0][:50])
    assert Collected(running, state, 1, length=5).wait().ends == ["interrupted"]


def test_more_streams_than_may_wait_are_refused(made):
    running, _, state = made
    first = Collected(running, state, 40, length=100_000)
    with pytest.raises(QueueFullError, match="40 samples are in progress or wait, of 48 that may; try again later"):
        Collected(running, state, 9, length=5)
    running.cancel(first.job)


def make_jobs(*sizes):
    engine = engine_for(LETTERS)
    stepper = stepper_for(engine, engine.initial_state())
    state = prefill(stepper, LETTERS, np.zeros(0, dtype=np.int64))
    sampler = StreamSampler(stepper, LETTERS, SampleOptions(length=5))
    return [
        Job([Member(sampler, stream) for stream in sampler.streams(enumerate([SampleRequest(state, 1)] * size))], print)
        for size in sizes
    ]


def test_places_are_shared_evenly_and_none_is_left_empty():
    schedule, (large, small, middle) = Schedule(8), make_jobs(20, 1, 5)
    schedule.add(large)
    assert schedule.rearrange() == ([], list(large.members[:8]))
    schedule.add(small)
    assert schedule.rearrange() == ([large.members[7]], list(small.members))
    schedule.add(middle)
    suspended, joining = schedule.rearrange()
    assert suspended == [large.members[6], large.members[5], large.members[4]]
    assert joining == list(middle.members[:3])
    assert [len(job.running) for job in (large, small, middle)] == [4, 1, 3]
    assert schedule.remove(lambda job: job is small) == [small]
    assert schedule.rearrange() == ([], [middle.members[3]])
    schedule.remove(lambda job: job is middle)
    assert schedule.rearrange() == ([], list(large.members[4:8]))


def test_every_job_has_its_turn():
    schedule, jobs = Schedule(2), make_jobs(1, 1, 1, 1, 1)
    for job in jobs:
        schedule.add(job)
    turns = []
    for _ in range(5 * STEPS_PER_TURN):
        schedule.rearrange()
        turns.append([jobs.index(job) for job in schedule.jobs if job.running])
    per_turn = [turns[first] for first in range(STEPS_PER_TURN, len(turns), STEPS_PER_TURN)]
    assert per_turn == [[2, 3], [4, 0], [1, 2], [3, 4]]
    assert all(len(turn) == 2 for turn in turns)
