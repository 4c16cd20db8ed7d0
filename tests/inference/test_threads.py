import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from charnn.config import SampleOptions
from charnn.inference import threads
from charnn.inference.input_projection import ProjectedRows
from charnn.inference.numpy_steppers import LstmStepper
from charnn.inference.prompt import prefill
from charnn.inference.stepper import stepper_for
from charnn.inference.threads import AdaptiveThreads, BlasThreads, limited_blas_threads, num_cores
from charnn.sampling import sampler
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import SampleRequest
from charnn.text.tokenizers import CharTokenizer
from tests.conftest import REPOSITORY
from tests.scoring.test_estimators import ENGINE, FIVE


class Library:
    """Stands for BLAS: notes how many threads it was given."""

    def __init__(self, num_threads=8):
        self.num_threads = num_threads

    def set_num_threads(self, number):
        self.num_threads = number


class Step:
    """Work whose time depends on BLAS's threads, on a clock of our own."""

    def __init__(self, library, seconds, monkeypatch):
        self.library, self.seconds, self.now, self.num_calls = library, seconds, 100.0, 0
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.now)

    def __call__(self):
        self.num_calls += 1
        self.now += self.seconds[self.library.num_threads]


def test_a_limit_ends_with_its_block_whatever_happens_there():
    with pytest.raises(ValueError, match="own"), limited_blas_threads(1):
        assert all(library.get() == 1 for library in threads.BLAS._libraries)
        raise ValueError("own")
    assert threads.BLAS.num_unlimited() == max((library.get() for library in threads.BLAS._libraries), default=None)


@pytest.mark.parametrize("first_to_leave", ["a", "b"])
def test_of_two_limits_the_least_is_in_force_and_the_last_puts_the_numbers_back(first_to_leave):
    libraries = [Library(8), Library(2)]
    blas = BlasThreads(libraries)

    def numbers():
        return [library.num_threads for library in libraries]

    blas.limit("a", 4)
    assert numbers() == [4, 2]
    blas.limit("b", 1)
    assert numbers() == [1, 1]
    assert blas.num_unlimited() == 8
    blas.release(first_to_leave)
    assert numbers() == ([1, 1] if first_to_leave == "a" else [4, 2])
    blas.release("a")
    blas.release("b")
    blas.release("b")
    assert numbers() == [8, 2]


def test_limits_of_every_thread_count_though_another_one_set_the_number_first():
    class OneThreadsOwn(Library):
        """Obeys the thread that first set its number, as some versions of threadpoolctl have it."""

        owner = None

        def set_num_threads(self, number):
            self.owner = self.owner or threading.get_ident()
            if self.owner == threading.get_ident():
                self.num_threads = number

        def clear_controlling_thread(self, force=False):
            assert force
            self.owner = None

    library = OneThreadsOwn(8)
    library.set_num_threads(8)
    blas = BlasThreads([library])
    other = threading.Thread(target=blas.limit, args=("a", 1))
    other.start()
    other.join()
    assert library.num_threads == 1
    blas.release("a")
    assert library.num_threads == 8


def test_in_a_thread_of_their_own_limits_reach_the_blas_that_numpy_has():
    with limited_blas_threads(1):
        pass
    found = []

    def limit():
        with limited_blas_threads(1):
            found.extend(
                library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers
            )

    other = threading.Thread(target=limit)
    other.start()
    other.join()
    assert set(found) <= {1}


def test_a_number_that_a_user_sets_between_two_limits_is_put_back():
    library = Library(8)
    blas = BlasThreads([library])
    for number in (8, 3):
        library.num_threads = number
        blas.limit("a", 1)
        blas.release("a")
        assert library.num_threads == number


@pytest.mark.parametrize(
    ("cores", "blas", "environment", "expected"),
    [
        (8, 8, "", 8),
        (8, 3, "", 3),
        (2, 8, "", 2),
        (8, None, "", 8),
        (8, None, "3,2", 3),
        (8, None, "many", 8),
        (8, None, "0", 8),
    ],
)
@pytest.mark.parametrize("has_affinity", [True, False])
def test_cores_are_those_that_the_system_and_the_user_let_us_have(
    monkeypatch, cores, blas, environment, expected, has_affinity
):
    monkeypatch.setattr(threads, "BLAS", BlasThreads([] if blas is None else [Library(blas)]))
    monkeypatch.setenv("OMP_NUM_THREADS", environment)
    monkeypatch.setattr(os, "cpu_count", lambda: 64 if has_affinity else cores)
    if has_affinity:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    else:
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert num_cores() == expected
    with limited_blas_threads(1):
        assert num_cores() == expected


def test_the_fastest_number_of_threads_is_taken_and_in_force_in_blocks_only(monkeypatch):
    for fastest in (1, 2, 4, 8):
        library = Library()
        adaptive = AdaptiveThreads(BlasThreads([library]))
        step = Step(library, {number: 0.001 if number == fastest else 0.003 for number in (1, 2, 4, 8)}, monkeypatch)
        with adaptive:
            assert library.num_threads == 1
            adaptive.review(step)
            assert library.num_threads == fastest
        assert library.num_threads == 8
        with adaptive:
            assert library.num_threads == fastest
        assert library.num_threads == 8


def test_it_is_asked_again_only_after_a_while(monkeypatch):
    library = Library(2)
    adaptive, step = AdaptiveThreads(BlasThreads([library])), Step(library, {1: 0.002, 2: 0.001}, monkeypatch)
    with adaptive:
        adaptive.review(step)
        assert library.num_threads == 2
        step.seconds = {1: 0.001, 2: 0.005}
        adaptive.review(step)
        assert library.num_threads == 2
        step.now += threads.SECONDS_BETWEEN
        adaptive.review(step)
        assert library.num_threads == 1


def test_threads_that_wait_for_a_busy_core_are_tried_once(monkeypatch):
    library = Library(2)
    adaptive, step = AdaptiveThreads(BlasThreads([library])), Step(library, {1: 0.001, 2: 0.5}, monkeypatch)
    with adaptive:
        adaptive.review(step)
        assert library.num_threads == 1
    assert step.now < 100.6


def test_several_threads_are_given_up_when_items_become_slow(monkeypatch):
    library = Library(2)
    adaptive, step = AdaptiveThreads(BlasThreads([library])), Step(library, {1: 0.002, 2: 0.001}, monkeypatch)
    with adaptive:
        adaptive.review(step)
    step.seconds[2] = 0.5
    chosen = []
    for _ in range(2 * threads.MAX_SLOW_ITEMS):
        with adaptive:
            step()
            chosen.append(library.num_threads)
    assert chosen == [2] * threads.MAX_SLOW_ITEMS + [1] * threads.MAX_SLOW_ITEMS
    assert library.num_threads == 2


def test_where_there_is_one_thread_nothing_is_timed():
    adaptive = AdaptiveThreads(BlasThreads([Library(1)]))
    with adaptive:
        adaptive.review(lambda: 1 / 0)


def test_where_there_is_one_thread_no_step_limits_it(monkeypatch):
    blas = BlasThreads([Library(1)])
    adaptive = AdaptiveThreads(blas)
    with adaptive:
        adaptive.review(lambda: 1 / 0)
    monkeypatch.setattr(blas, "limit", None)
    for _ in range(2 * threads.MAX_SLOW_ITEMS):
        with adaptive:
            pass


def test_a_step_that_fails_leaves_no_limit():
    library = Library(2)
    adaptive = AdaptiveThreads(BlasThreads([library]))
    with pytest.raises(ZeroDivisionError), adaptive:
        adaptive.review(lambda: 1 / 0)
    assert library.num_threads == 2


def sampler_with(blas, monkeypatch):
    monkeypatch.setattr(sampler, "AdaptiveThreads", lambda: AdaptiveThreads(blas))
    stepper = stepper_for(ENGINE, ENGINE.initial_state())
    tokenizer = CharTokenizer(FIVE.vocabulary, "stream")
    start = prefill(stepper, tokenizer, np.zeros(0, dtype=np.int64))
    return Sampler(StreamSampler(stepper, tokenizer, SampleOptions(length=60))), start


@pytest.mark.parametrize("num_samples", [1, 3])
def test_a_sampler_limits_threads_while_it_computes_and_not_while_it_is_suspended(monkeypatch, num_samples):
    library = Library(8)
    monkeypatch.setattr(AdaptiveThreads, "_time", lambda _self, number, *_: number)
    writer, start = sampler_with(BlasThreads([library]), monkeypatch)
    seen = []
    step = LstmStepper.step
    monkeypatch.setattr(
        LstmStepper, "step", lambda self, *values: (seen.append(library.num_threads), step(self, *values))[1]
    )
    pieces = writer.generate([SampleRequest(start, seed) for seed in range(num_samples)])
    for _ in range(40):
        next(pieces)
        assert library.num_threads == 8
    assert set(seen) == {1}
    pieces.close()
    assert library.num_threads == 8


def test_two_samplers_at_once_leave_the_number_as_it_was(monkeypatch):
    library = Library(8)
    blas = BlasThreads([library])
    monkeypatch.setattr(AdaptiveThreads, "_time", lambda _self, number, *_: -number % 3)
    writers = [sampler_with(blas, monkeypatch) for _ in range(4)]

    def write(writer, start):
        list(writer.generate([SampleRequest(start, 1), SampleRequest(start, 2)]))

    running = [threading.Thread(target=write, args=each) for each in writers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert library.num_threads == 8


WHOLE_PROCESS = """
import json, os, tempfile, threading, time
from pathlib import Path
os.sched_getaffinity = lambda process: {0, 1, 2}
os.cpu_count = lambda: 3
import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits
threadpool_limits(limits=3, user_api="blas")
torch.set_num_threads(3)
from charnn.config import ModelOptions, SampleOptions, ScoreOptions, TextOptions, TrainingOptions
from charnn.inference import threads
from charnn.inference.numpy_steppers import LstmStepper
from charnn.inference.prompt import prefill
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.inference.stepper import stepper_for
from charnn.sampling.streams import SampleRequest
from charnn.scoring import estimators, scorer
from charnn.scoring.scorer import score_units
from charnn.text.tokenizers import CharTokenizer
from charnn.training.run.create import create_run
from charnn.training.run.session import run
from tests.scoring.test_estimators import ENGINE, FIVE

threads.AdaptiveThreads._time = lambda self, number, step, most_seconds: number
estimators.FEWEST_UNITS = 1
scorer.MAX_BATCH_SIZE, scorer.LINES_PER_WINDOW = 3, 9
expected = threads.num_cores()
counts = []

def read_counts():
    blas = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    fresh = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start(), thread.join()
    counts.append([*blas, torch.get_num_threads(), *fresh])

def sample():
    stepper = stepper_for(ENGINE, ENGINE.initial_state())
    tokenizer = CharTokenizer(FIVE.vocabulary, "stream")
    start = prefill(stepper, tokenizer, np.zeros(0, dtype=np.int64))
    for _ in Sampler(StreamSampler(stepper, tokenizer, SampleOptions(length=40))).generate([SampleRequest(start, 1)]):
        read_counts()

workers = []

def score():
    estimator = estimators.NetworkEstimator(ENGINE)
    seen, meet, start = set(), threading.Barrier(expected, timeout=60), estimator.new_reader

    def started(num_streams):
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            meet.wait()
        return start(num_streams)

    estimator.new_reader = started
    for _ in score_units(estimator, FIVE, ["abcd"] * 90, ScoreOptions()):
        pass
    read_counts()
    workers.append(len(seen))

def train():
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text("the cat sat on the mat\\n" * 200, encoding="utf-8")
        session = create_run(
            Path(folder, "run"), [str(text)], text_options=TextOptions(), model_options=ModelOptions(hidden_size=8),
            training_options=TrainingOptions(steps=6, bptt_length=8, ngram_order=2), overwrite=False,
            started=time.monotonic(),
        )
        for _ in run(session, should_stop=lambda: False):
            read_counts()
        assert session.trainer.workers.max_workers == 3
        read_counts()

read_counts()
sample(), score(), train(), sample(), score()
print(json.dumps({"counts": counts, "workers": workers, "expected": expected}))
"""


def test_nothing_of_a_process_is_left_changed_and_scoring_after_sampling_has_all_cores():
    run = subprocess.run(
        [sys.executable, "-c", WHOLE_PROCESS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={
            name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTEST_XDIST_WORKER")
        },
    )
    found = json.loads(run.stdout)
    assert all(counts == found["counts"][0] for counts in found["counts"])
    assert found["workers"] == [found["expected"]] * 2
    assert found["expected"] == 3


def test_rows_that_several_threads_ask_for_at_once_are_right():
    generator = np.random.default_rng(2)
    vectors, matrix, bias = (generator.standard_normal(size).astype(np.float32) for size in ((3000, 16), (64, 16), 64))
    for _ in range(5):
        table = ProjectedRows(vectors, matrix, bias)
        orders = [generator.permutation(3000) for _ in range(4)]
        found: dict[int, np.ndarray] = {}

        def ask(number, table=table, orders=orders, found=found):
            parts = np.array_split(orders[number], 40 if number % 2 else 4)
            ways = (lambda part: np.stack([table[row] for row in part.tolist()]), table.many)
            found[number] = np.concatenate([ways[number > 0](part) for part in parts])

        askers = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        for number, rows in found.items():
            np.testing.assert_allclose(rows, vectors[orders[number]] @ matrix.T + bias, atol=1e-4)
