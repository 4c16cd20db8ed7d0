"""Scoring of a text's parts on Ray."""

import time
from collections.abc import Callable
from typing import NamedTuple

from charnn.cluster.job import ScoringJob, score_part, scorer_of
from charnn.cluster.plan import Part
from charnn.cluster.ray_pool import address_of, check_reachable, connected, require_ray, run_tasks
from charnn.scoring.build import Scorer
from charnn.text.progress import Progress, Report


class _Task(NamedTuple):
    """A part of a job."""

    job: ScoringJob
    part: Part


_loaded: dict[str, Scorer] = {}
"""The scorer of the job that this worker process has a part of, by the digest of its plan."""


def check_ray(address: str | None) -> None:
    """Check that Ray is installed and, as far as that is quick, that a cluster can be reached. Raises ClusterError."""
    require_ray()
    check_reachable(address_of(address))


def score_on_ray(
    job: ScoringJob, scorer: Scorer, *, address: str | None, report: Report | None = None, noun: str = "lines"
) -> None:
    """Score all parts of a job that are not finished.

    Args:
        scorer: of this process, for a text that is too short to be divided.
        address: of the cluster (see `connected`).
        report: called with the progress.
        noun: what a unit is called, for the progress.

    Raises:
        ClusterError: if the cluster cannot be reached, or a part fails repeatedly.
        CharnnError: if a part cannot be scored.
    """
    parts = job.unfinished()
    if job.plan.has_one_window or sum(part.num_units > 0 for part in parts) <= 1:
        for part in parts:
            score_part(job, part, scorer)
        return
    with connected(address) as session:
        tasks = [_Task(job, part) for part in parts]
        advance = _meter(parts, noun, report)
        needs_gpu = job.plan.score_options.device == "cuda"
        for task, _ in run_tasks(_score, tasks, session=session, needs_gpu=needs_gpu, name=_name):
            advance(task.part)


def _meter(parts: list[Part], noun: str, report: Report | None) -> Callable[[Part], None]:
    """Return a function that counts a part and reports the progress, of what was left to do at the start."""
    started, num_total = time.monotonic(), sum(part.num_units for part in parts)
    num_done = 0

    def advance(part: Part) -> None:
        nonlocal num_done
        num_done += part.num_units
        if report is not None:
            report(Progress("scoring", noun, num_done, num_total, time.monotonic() - started))

    return advance


def _score(task: _Task) -> None:
    """Score a part in a worker, whose models are read once."""
    job = task.job
    if job.plan.sha256 not in _loaded:
        _loaded.clear()
        _loaded[job.plan.sha256] = scorer_of(job)
    score_part(job, task.part, _loaded[job.plan.sha256])


def _name(task: _Task) -> str:
    return f"part {task.part.number:,} of {len(task.job.plan.parts):,}"
