"""Tasks on Ray: a cluster that exists, or processes on this machine for as long as they are needed.

Ray is an extra: what needs it says what to install.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from charnn.cores import available_cores
from charnn.errors import CharnnError, ClusterError
from charnn.notices import notice_logger

try:
    import ray
    from ray import exceptions
except ModuleNotFoundError:
    ray = None

logger = notice_logger(__name__)

LOCAL = "local"
"""The address that stands for processes on this machine."""
ADDRESS_VARIABLE = "RAY_ADDRESS"
MOST_TRIES = 4
"""A task whose worker dies is tried so often in all."""
IN_FLIGHT_PER_CORE = 2
SECONDS_TO_REACH = 5.0
OBJECT_STORE_BYTES = 128 << 20
"""Shared memory for what tasks return, which is little; by default Ray takes a third of the machine's."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}
"""Environment variables that keep Ray from reporting to its makers and to the terminal; those that are set are kept."""
PRINTER = "print_to_stdstream"
"""Ray's function that prints messages of its processes to standard output, whatever `log_to_driver` says."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def require_ray() -> None:
    """Raise ClusterError if Ray is not installed."""
    if ray is None:
        raise ClusterError("--ray: ray is not installed; in the clone, run pip install -e '.[cluster]'")


def _deaths() -> tuple[type[Exception], ...]:
    """Return the errors of tasks whose worker or machine died."""
    return (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,
        exceptions.RaySystemError,
    )


class Session(NamedTuple):
    """A connection to Ray.

    Args:
        num_cores: of all machines.
        is_own: whether it ends with what it was opened for, and with it whatever still runs.
    """

    num_cores: int
    is_own: bool


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Session]:
    """Connect to Ray while the block runs.

    A session that the caller has begun is used, and left as it is.

    Args:
        address: host:port, ray://host:port or "auto" for a cluster; "local" for this machine. If None, that of the environment
            variable RAY_ADDRESS, or this machine.

    Raises:
        ClusterError: if the cluster cannot be reached.
    """
    require_ray()
    if ray.is_initialized():
        yield Session(_num_cores(), is_own=False)
        return
    address = address_of(address)
    check_reachable(address)
    with _quiet():
        try:
            _init(address)
            yield Session(_num_cores(), is_own=True)
        finally:
            ray.shutdown()


def _num_cores() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _init(address: str) -> None:
    """Begin a session. Raises ClusterError."""
    own = {"num_cpus": available_cores(), "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    local = own if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClusterError(f"--ray {address}: Ray cannot be used there: {reason}; {_remedy(address)}") from error


def _remedy(address: str) -> str:
    if address == LOCAL:
        return "score with --shard instead"
    return "start Ray there (ray start), or leave the address out to use this machine"


def address_of(named: str | None) -> str:
    """Return the address that is named, or that of the environment, or that of this machine."""
    return named or os.environ.get(ADDRESS_VARIABLE) or LOCAL


def check_reachable(address: str) -> None:
    """Raise ClusterError if nothing answers at an address; Ray itself would try for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_REACH).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterError(f"--ray {address}: cannot be reached: {reason}; {_remedy(address)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray quiet while the block runs, and undo what it changes in this process."""
    before = {name: os.environ.get(name) for name in (*QUIET, "RAY_AUTH_MODE")}
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    of_ray = logging.getLogger("ray")
    level, handlers = of_ray.level, list(of_ray.handlers)
    of_ray.setLevel(logging.CRITICAL)
    printing = getattr(ray._private.worker, PRINTER, None)
    if printing is not None:
        setattr(ray._private.worker, PRINTER, _print_nothing)
    in_main_thread = threading.current_thread() is threading.main_thread()
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if in_main_thread and at_sigterm is not None:
            signal.signal(signal.SIGTERM, at_sigterm)
        if printing is not None:
            setattr(ray._private.worker, PRINTER, printing)
        of_ray.setLevel(level)
        of_ray.handlers[:] = handlers
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _print_nothing(*_: object, **__: object) -> None:
    """Take the place of what prints messages of Ray's processes."""


class Failed:
    """An error that a task ended with, and the machine on which it did."""

    def __init__(self, error: CharnnError, host: str) -> None:
        self.error, self.host = error, host


def run_tasks(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    session: Session,
    cores_each: int = 1,
    needs_gpu: bool = False,
    name: Callable[[Item], str],
) -> Iterator[tuple[Item, Result]]:
    """Call a function for each item, on any machine, and yield the results as they come.

    A task whose worker or machine dies is tried again; Ray's own retries are off, so that users hear of each.

    Args:
        work: a function of a module that all machines have.
        session: where they are done.
        cores_each: number of cores of a task.
        needs_gpu: whether a task needs a GPU.
        name: of an item, for messages.

    Raises:
        CharnnError: of a task.
        ClusterError: if a task's worker dies again and again.
    """
    task = ray.remote(_guarded).options(num_cpus=cores_each, num_gpus=int(needs_gpu), max_retries=0)
    waiting = list(reversed(items))
    pending: dict[Any, Item] = {}
    tries: Counter[int] = Counter()
    numbers = {id(item): number for number, item in enumerate(items)}
    most_pending = max(1, IN_FLIGHT_PER_CORE * session.num_cores // cores_each)
    try:
        while waiting or pending:
            while waiting and len(pending) < most_pending:
                item = waiting.pop()
                pending[task.remote(work, item)] = item
            (done,), _ = ray.wait(list(pending), num_returns=1)
            item = pending.pop(done)
            try:
                result = ray.get(done)
            except _deaths() as error:
                tries[numbers[id(item)]] += 1
                _note_death(name(item), tries[numbers[id(item)]], error)
                waiting.append(item)
                continue
            if isinstance(result, Failed):
                raise _told(result)
            yield item, result
    finally:
        for each in () if session.is_own else pending:
            with contextlib.suppress(Exception):  # the session may be over
                ray.cancel(each, force=True)


def _guarded(work: Callable[[Any], Any], item: Any) -> Any:
    """Call a function in a worker; an error of the user is a result, without a traceback of Ray."""
    try:
        return work(item)
    except CharnnError as error:
        return Failed(error, socket.gethostname())


def _told(failed: Failed) -> CharnnError:
    """Return a task's error, with the machine if that is another one."""
    if failed.host != socket.gethostname():
        failed.error.args = (f"{failed.error} (on {failed.host}; files must be where all machines find them)",)
    return failed.error


def _note_death(name: str, num_tries: int, error: Exception) -> None:
    """Tell the user that a worker died. Raises ClusterError when it was the last try."""
    reason = "out of memory" if isinstance(error, exceptions.OutOfMemoryError) else "killed, or its machine is gone"
    if num_tries >= MOST_TRIES:
        raise ClusterError(
            f"{name}: its worker died {num_tries} times ({reason}); what is finished is kept: "
            "see that a worker has enough memory, and run the command again"
        ) from error
    logger.info(f"{name}: its worker died ({reason}); it is tried again ({num_tries + 1} of {MOST_TRIES})")
