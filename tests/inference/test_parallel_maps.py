import threading
import time

import pytest

from charnn.config import ScoreOptions
from charnn.inference import parallel_maps, threads
from charnn.inference.parallel_maps import threaded_map
from charnn.inference.threads import BlasThreads
from charnn.scoring import estimators, scorer
from charnn.scoring.estimators import NetworkEstimator
from charnn.scoring.scorer import score_units
from tests.inference.test_threads import Library
from tests.scoring.test_estimators import ENGINE, FIVE


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(parallel_maps, "num_cores", lambda: 2)


@pytest.mark.usefixtures("two_cores")
def test_results_come_in_order_whichever_thread_is_quicker():
    def work(number, cancelled):
        time.sleep(0.02 if number % 2 else 0)
        return number, threading.get_ident()

    found = list(threaded_map(work, range(20)))
    assert [number for number, _ in found] == list(range(20))
    workers = {worker for _, worker in found}
    assert threading.get_ident() not in workers


@pytest.mark.usefixtures("two_cores")
def test_a_single_task_is_done_here():
    def work(task, cancelled):
        return threading.get_ident()

    assert list(threaded_map(work, ["x"])) == [threading.get_ident()]
    assert list(threaded_map(work, [])) == []


@pytest.mark.usefixtures("two_cores")
def test_later_items_are_computed_before_the_first_result_is_used():
    began = threading.Event()

    def work(task, cancelled):
        if task == "second":
            began.set()
        return task

    results = threaded_map(work, ["first", "beside", "second", "third"])
    assert next(results) == "first"
    assert began.wait(5)
    results.close()


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("ending", ["error", "close"])
def test_work_that_nobody_waits_for_is_told_so(ending):
    seen = []

    def work(task, cancelled):
        if task == "bad":
            raise ValueError(task)
        if task == "long":
            seen.append(cancelled.wait(20))
        return task

    results = threaded_map(work, ["good", "long", "bad" if ending == "error" else "good", "good"])
    assert next(results) == "good"
    began = time.monotonic()
    if ending == "close":
        results.close()
    else:
        with pytest.raises(ValueError, match="bad"):
            next(threaded_map(work, ["bad", "long"]))
        results.close()
    assert time.monotonic() - began < 15
    assert all(seen)


def test_threads_change_no_score(monkeypatch):
    monkeypatch.setattr(estimators, "FEWEST_UNITS", 1)
    monkeypatch.setattr(scorer, "MAX_BATCH_SIZE", 3)
    monkeypatch.setattr(scorer, "LINES_PER_WINDOW", 10)
    texts = ["ab" * (number % 7) + "c" * (number % 3) for number in range(40)]
    found = []
    for number in (1, 2, 5):
        monkeypatch.setattr(parallel_maps, "num_cores", lambda number=number: number)
        scores = list(score_units(NetworkEstimator(ENGINE), FIVE, texts, ScoreOptions()))
        assert [score.text for score in scores] == texts
        found.append([score.log_prob_nats for score in scores])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert found[1] == found[2]


@pytest.mark.usefixtures("two_cores")
def test_blas_is_limited_while_tasks_run_and_not_while_results_wait(monkeypatch):
    library = Library(8)
    monkeypatch.setattr(threads, "BLAS", BlasThreads([library]))
    released = threading.Event()
    release = threads.BLAS.release

    def noting(holder):
        release(holder)
        if library.num_threads == 8:
            released.set()

    monkeypatch.setattr(threads.BLAS, "release", noting)

    def work(task, cancelled):
        released.clear()
        return library.num_threads

    results = threaded_map(work, [1, 2, 3, 4])
    assert next(results) == 1
    assert released.wait(20)
    assert list(results) == [1, 1, 1]
    assert library.num_threads == 8
