"""Ranks: processes on one machine or several that train one network together; rank 0 leads, the others follow its orders.

All messages are JSON or arrays of numbers: nothing that is received can run code.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Self

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from charnn.errors import LostRankError
from charnn.files import JsonObject
from charnn.launch import Launch
from charnn.storage.tensor_file import Tensors

SECONDS_TO_CONNECT, TRIAL, CONNECTING_SECONDS = 600.0, timedelta(seconds=3), 0.02
"""Maximum time until all ranks have started, of one attempt to reach the first one, and between two looks for the others."""
TIMEOUT = timedelta(days=7)
"""Maximum time for a message: rank 0 may read a long text first. A rank that ends is noticed at once."""
FAILURE_KEY = "charnn/failure"
SECONDS_FOR_REASON = 1.0
"""Time for a failing rank to say why, before its loss is reported without a reason."""


class Ranks:
    """The ranks of a job, connected with each other.

    Args:
        place: of this process among them.
        should_stop: called while this process waits for the others; if it returns True, it waits no longer.

    Raises:
        LostRankError: by all methods, if another rank ended.
    """

    def __init__(self, place: Launch, should_stop: Callable[[], bool] = lambda: False) -> None:
        self.index, self.size = place.rank, place.size
        self.place = place
        self.is_first = place.is_first
        self._store = _store_of_all(place, should_stop)
        with self._explained():
            dist.init_process_group("gloo", store=self._store, rank=place.rank, world_size=place.size, timeout=TIMEOUT)
        self._gpus: dist.ProcessGroup | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Disconnect."""
        dist.destroy_process_group()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._lost() from error

    def _lost(self) -> LostRankError:
        """Return the error for the loss of another rank, with the reason that it gave."""
        deadline = time.monotonic() + SECONDS_FOR_REASON
        with contextlib.suppress(RuntimeError):  # the store is lost, too
            while time.monotonic() < deadline:
                if self._store.check([FAILURE_KEY]):
                    failure = json.loads(self._store.get(FAILURE_KEY))
                    return LostRankError(str(failure["message"]), self.index, is_reported=failure["rank"] == 0)
                time.sleep(0.02)
        return LostRankError(
            f"another of the {self.size} processes was lost (killed, or its machine cannot be reached)", self.index
        )

    def report_failure(self, message: str) -> None:
        """Tell the other ranks why this one ends."""
        with contextlib.suppress(RuntimeError):  # the store is lost, too
            if not self._store.check([FAILURE_KEY]):
                self._store.set(FAILURE_KEY, json.dumps({"rank": self.index, "message": message}))

    def use_gpus(self) -> None:
        """Connect the GPUs of all ranks. All ranks must call it."""
        if self._gpus is None:
            with self._explained():
                self._gpus = dist.new_group(backend="nccl", timeout=TIMEOUT)

    def tell(self, content: JsonObject | None = None) -> JsonObject:
        """Send a JSON object from rank 0 to the others, which receive it.

        Args:
            content: of rank 0.
        """
        data = np.frombuffer(json.dumps(content).encode(), np.uint8).copy()
        length = self.broadcast(torch.tensor([len(data)]))
        received = self.broadcast(
            torch.from_numpy(data) if self.is_first else torch.empty(int(length), dtype=torch.uint8)
        )
        told: JsonObject = json.loads(received.numpy().tobytes())
        return told

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Send a tensor of a shape that all know from rank 0 to the others; return it."""
        with self._explained():
            dist.broadcast(tensor, 0)
        return tensor

    def tell_arrays(self, arrays: Tensors | None = None) -> Tensors:
        """Send arrays from rank 0 to the others, which receive them.

        Args:
            arrays: of rank 0.
        """
        described = {name: [str(array.dtype), list(array.shape)] for name, array in (arrays or {}).items()}
        told = {}
        for name, (dtype, shape) in self.tell(described).items():
            array = np.ascontiguousarray((arrays or {})[name]) if self.is_first else np.empty(shape, dtype)
            if array.size:
                self.broadcast(torch.from_numpy(array.reshape(-1).view(np.uint8)))
            told[name] = array.reshape(shape)
        return told

    def collect(self, content: bytes) -> list[bytes]:
        """Send bytes from each rank to rank 0, which returns them in the order of the ranks; the others return nothing."""
        lengths = self.gather(torch.tensor([len(content)]))
        sent = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        if not self.is_first:
            with self._explained():
                if len(sent):
                    dist.send(sent, 0)
            return []
        collected = [content]
        for source, length in enumerate(lengths[1:], start=1):
            received = torch.empty(int(length), dtype=torch.uint8)
            with self._explained():
                if len(received):
                    dist.recv(received, source)
            collected.append(received.numpy().tobytes())
        return collected

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, which have the same shape."""
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._explained():
            if self.size == 2:  # in a third of the time of a collective
                other = 1 - self.index
                sending = dist.isend(tensor, other)
                assert sending is not None
                dist.recv(gathered[other], other)
                sending.wait()
                gathered[self.index] = tensor
            else:
                dist.all_gather(gathered, tensor)
        return gathered

    def report(self) -> None:
        """Tell rank 0, which waits for all others, that this rank is done."""
        done = torch.zeros(1)
        with self._explained():
            if not self.is_first:
                dist.send(done, 0)
            else:
                for other in range(1, self.size):
                    dist.recv(done, other)

    def exchange(self, parts: Tensor, num_sent: Sequence[int], num_received: Sequence[int]) -> Tensor:
        """Send a part of a vector to each rank, and return the parts that they sent to this one, in the order of the ranks.

        Args:
            parts: (sum(num_sent),).
            num_sent, num_received: lengths of the parts by rank.
        """
        received = parts.new_empty(sum(num_received))
        with self._explained():
            dist.all_to_all_single(received, parts, list(num_received), list(num_sent))
        return received

    def sum(self, tensor: Tensor) -> Tensor:
        """Add the tensors of all ranks, in place, in an order that depends on the number of ranks."""
        with self._explained():
            dist.all_reduce(tensor, group=self._gpus if tensor.is_cuda else None)
        return tensor


def _store_of_all(place: Launch, should_stop: Callable[[], bool]) -> dist.PrefixStore:  # type: ignore[name-defined]
    """Return the store of a job once all its ranks have reached it. Waits in short steps, so that signals are handled.

    Raises:
        LostRankError: if that takes too long, or `should_stop` returns True.
    """
    deadline = time.monotonic() + SECONDS_TO_CONNECT
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    is_launchers = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    reason, store = "", None
    while store is None or not store.check([f"rank {rank}" for rank in range(place.size)]):
        if should_stop() or time.monotonic() > deadline:
            raise LostRankError(
                f"the {place.size} processes cannot be connected at {address}:{port} ({reason or 'some have not started'}); "
                "start all of them with the address of the first one's machine and a free port (MASTER_ADDR, MASTER_PORT)",
                place.rank,
                is_reported=place.rank > 0 and should_stop(),
            )
        time.sleep(CONNECTING_SECONDS)
        try:
            if store is None:
                is_server = place.is_first and not is_launchers
                if not is_server:
                    socket.create_connection((address, port), TRIAL.total_seconds()).close()  # else torch complains
                server = dist.TCPStore(  # type: ignore[attr-defined]
                    address, port, is_master=is_server, timeout=TRIAL, wait_for_workers=False
                )
                job = os.environ.get("TORCHELASTIC_RUN_ID", "")
                store = dist.PrefixStore(f"charnn {job} {place.restarts}", server)  # type: ignore[attr-defined]
                store.set(f"rank {place.rank}", "")
        except (RuntimeError, OSError) as error:
            reason = str(error).split("\n", 1)[0]
            if place.is_first and "EADDRINUSE" in str(error):
                deadline = 0.0
    return store


def owner(group: int, num_groups: int, num_ranks: int) -> int:
    """Return the rank that processes a group of lanes; the groups are spread evenly, and in order."""
    return group * num_ranks // num_groups


def owned(num_groups: int, rank: int, num_ranks: int) -> list[int]:
    """Return the groups of lanes that a rank processes."""
    return [group for group in range(num_groups) if owner(group, num_groups, num_ranks) == rank]
