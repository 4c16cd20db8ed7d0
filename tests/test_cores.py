import pytest

from charnn import cores
from charnn.cores import available_cores


@pytest.mark.parametrize(("allowed", "expected"), [("1", 1), ("3,2", 3), ("100", 4), ("", 4), ("many", 4)])
def test_cores_are_those_that_the_process_is_bound_to(monkeypatch, allowed, expected):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 2, 3, 5}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert available_cores() == expected
    monkeypatch.delattr(cores.os, "sched_getaffinity")
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 4)
    assert available_cores() == expected
