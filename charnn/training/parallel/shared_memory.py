"""Memory that all ranks of a machine map: they keep one copy of the weights there, and read each other's gradients.

It belongs to no file: the system frees it when the last of the processes ends, however it ends. Linux only.
"""

import mmap
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from charnn.training.parallel.ranks import Ranks

ALIGNMENT = 64
"""Bytes, as torch aligns its own memory: products of matrices may depend on it."""
_TOKEN_BYTES = 16

Allocate = Callable[[Tensor], Tensor]
"""Returns zeros like a tensor, as `torch.zeros_like` does."""


class SharedMemory:
    """Memory in which all ranks of a machine allocate the same tensors in the same order.

    Args:
        mapped: memory of zeros; its first bytes identify it.
    """

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._end = ALIGNMENT

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the next tensor of a shape, which consists of zeros unless another rank has written to it."""
        count = torch.Size(shape).numel()
        start = self._end
        self._end = start + aligned(count * dtype.itemsize)
        if not count:
            return torch.zeros(shape, dtype=dtype)
        return torch.frombuffer(self._mapped, dtype=dtype, count=count, offset=start).view(shape)

    def zeros_like(self, tensor: Tensor) -> Tensor:
        """See `Allocate`."""
        return self.zeros(*tensor.shape, dtype=tensor.dtype)


def aligned(num_bytes: int) -> int:
    """Return how many bytes an allocation of some bytes takes."""
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT


def shared_memory(ranks: Ranks, num_bytes: int) -> SharedMemory | None:
    """Map memory that all ranks share; None if they run on several machines, or cannot share any. All ranks must call it.

    Args:
        ranks: connected with each other.
        num_bytes: of all tensors; what is never written takes no memory.
    """
    if ranks.place.local_size != ranks.size:
        return None
    size = aligned(num_bytes) + ALIGNMENT
    file, token, mapped = None, secrets.token_bytes(_TOKEN_BYTES), None
    try:
        if ranks.is_first and hasattr(os, "memfd_create"):
            file = os.memfd_create("charnn")
            os.ftruncate(file, size)
            os.pwrite(file, token, 0)
    except OSError:  # the system has no memory to share
        size = 0
    told = ranks.tell({"path": f"/proc/{os.getpid()}/fd/{file}", "token": token.hex(), "size": size if file else 0})
    try:
        mapped = _mapped(Path(told["path"]), bytes.fromhex(told["token"]), told["size"])
        could_all = all(bool(could) for could in ranks.gather(torch.tensor([mapped is not None])))
    finally:
        if file is not None:
            os.close(file)
    return SharedMemory(mapped) if mapped is not None and could_all else None


def _mapped(path: Path, token: bytes, size: int) -> mmap.mmap | None:
    """Map the memory of the first rank; None if that fails, as it does where processes do not see each other."""
    if not size:
        return None
    try:
        with path.open("r+b", buffering=0) as file:
            mapped = mmap.mmap(file.fileno(), size)
    except (OSError, ValueError):
        return None
    return mapped if mapped[: len(token)] == token else None
