"""The runs of a sweep side by side on Ray."""

from collections.abc import Iterator, Sequence

from charnn.cluster.ray_pool import connected, run_tasks
from charnn.cluster.sweep import RunEnd, SweepRun, do_run, end_of, finished_config, with_cpus


def run_on_ray(runs: Sequence[SweepRun], *, address: str | None) -> Iterator[RunEnd]:
    """Do the runs that are not finished, as many at a time as there are cores, and yield the end of each.

    A run has the cores that its option `threads` says, or an equal share of those that there are. One whose worker dies is
    resumed from its last checkpoint.

    Args:
        address: of the cluster (see `connected`).

    Raises:
        ClusterError: if the cluster cannot be reached, or a run's worker dies repeatedly.
        CharnnError: of a run.
    """
    unfinished = [run for run in runs if finished_config(run) is None]
    if not unfinished:
        return
    with connected(address) as session:
        shared = with_cpus(unfinished, max(1, session.num_cores // len(unfinished)))
        cores_each = max(run.cpus or 1 for run in shared)
        ends = run_tasks(do_run, shared, session=session, cores_each=cores_each, name=str)
        for number, (run, seconds) in enumerate(ends, start=len(runs) - len(unfinished) + 1):
            yield end_of(run, number, len(runs), seconds)
