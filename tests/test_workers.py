import threading
import time

import numpy as np
import pytest

from charnn.config import ScoreOptions
from charnn.runtime.tables import ProjectedRows
from charnn.scoring import estimators, scorer, workers
from charnn.scoring.estimators import NetworkEstimator
from charnn.scoring.scorer import score_units
from charnn.scoring.workers import in_threads
from tests.test_estimators import ENGINE, FIVE


@pytest.fixture
def two_workers(monkeypatch):
    monkeypatch.setattr(workers, "num_workers", lambda: 2)


@pytest.mark.usefixtures("two_workers")
def test_results_come_in_order_whichever_thread_is_quicker():
    def work(number, cancelled):
        time.sleep(0.02 if number % 2 else 0)
        return number, threading.get_ident()

    found = list(in_threads([[0, 1, 2], [], [3], [4, 5]], work))
    assert [[number for number, _ in group] for group in found] == [[0, 1, 2], [], [3], [4, 5]]
    threads = {thread for group in found for _, thread in group}
    assert threading.get_ident() not in threads


@pytest.mark.usefixtures("two_workers")
def test_a_single_task_is_done_here():
    def work(task, cancelled):
        return threading.get_ident()

    assert list(in_threads([["x"]], work)) == [[threading.get_ident()]]
    assert list(in_threads([], work)) == []


@pytest.mark.usefixtures("two_workers")
def test_the_next_group_is_under_way_before_the_first_is_given():
    began = threading.Event()

    def work(task, cancelled):
        if task == "second":
            began.set()
        return task

    groups = in_threads([["first", "beside"], ["second"], ["third"]], work)
    assert next(groups) == ["first", "beside"]
    assert began.wait(5)
    groups.close()


@pytest.mark.usefixtures("two_workers")
@pytest.mark.parametrize("ending", ["error", "close"])
def test_work_that_nobody_waits_for_is_told_so(ending):
    seen = []

    def work(task, cancelled):
        if task == "bad":
            raise ValueError(task)
        if task == "long":
            seen.append(cancelled.wait(20))
        return task

    groups = in_threads([["good", "fine"], ["long", "bad" if ending == "error" else "good"], ["good"]], work)
    assert next(groups) == ["good", "fine"]
    began = time.monotonic()
    if ending == "close":
        groups.close()
    else:
        with pytest.raises(ValueError, match="bad"):
            workers.in_threads([["bad", "long"]], work).__next__()
        groups.close()
    assert time.monotonic() - began < 15
    assert all(seen)


def test_threads_change_no_score(monkeypatch):
    monkeypatch.setattr(estimators, "FEWEST_UNITS", 1)
    monkeypatch.setattr(scorer, "WIDEST_BATCH", 3)
    monkeypatch.setattr(scorer, "LINES_AT_ONCE", 10)
    texts = ["ab" * (number % 7) + "c" * (number % 3) for number in range(40)]
    found = []
    for number in (1, 2, 5):
        monkeypatch.setattr(workers, "num_workers", lambda number=number: number)
        scores = list(score_units(NetworkEstimator(ENGINE), FIVE, texts, ScoreOptions()))
        assert [score.text for score in scores] == texts
        found.append([score.log_prob_nats for score in scores])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert found[1] == found[2]


def test_rows_that_several_threads_ask_for_at_once_are_right():
    generator = np.random.default_rng(2)
    vectors, matrix, bias = (generator.standard_normal(size).astype(np.float32) for size in ((3000, 16), (64, 16), 64))
    for _ in range(5):
        table = ProjectedRows(vectors, matrix, bias)
        orders = [generator.permutation(3000) for _ in range(4)]
        found: dict[int, np.ndarray] = {}

        def ask(number, table=table, orders=orders, found=found):
            parts = np.array_split(orders[number], 40 if number % 2 else 4)
            found[number] = np.concatenate([table.many(part) for part in parts])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, rows in found.items():
            np.testing.assert_allclose(rows, vectors[orders[number]] @ matrix.T + bias, atol=1e-4)
