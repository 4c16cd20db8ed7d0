"""The memory that training takes, estimated before it starts, and compared with what there is."""

import contextlib
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture, TrainingOptions
from charnn.errors import TrainingError
from charnn.notices import notice_logger
from charnn.training.chunked_loss import is_chunked
from charnn.training.network.network import Network
from charnn.training.optim.optimizers import INNER, TABLES
from charnn.training.parallel.groups import group_bounds
from charnn.training.planning.saved_memory import saved_bytes

logger = notice_logger(__name__)

FLOAT_BYTES = 4
MOMENTS = 2
"""Arrays of the size of its parameters that AdamW keeps, and numbers for each row that RMSProp by rows does."""
NUM_COPIES = 3
"""The parameters, their average, and the sum of their gradients."""
OTHER_COPIES = 2
"""The best weights, and those that write a sample. (The last good parameters, average and optimizer state are copied, too.)"""
SAFE_FRACTION = 0.9
"""Fraction of the available memory that an estimate may take without a warning."""
MEASURED_LENGTHS, MEASURED_ROWS = (8, 16), 4
"""Time steps and batch rows of two short batches by which the memory of a step is estimated."""
ROUGH_FLOATS, ROUGH_LOGITS, ROUGH_WEIGHTS, SMALL_FRACTION = 100, 4, 4, 0.3
"""Floats for each unit of each layer, each token of the vocabulary, and each position of the window of attention, that a step
keeps per token, at most; if so many are this small a part of the available memory, nothing is measured."""
UNLIMITED = 1 << 60
"""Control groups without a limit have this one or a larger one."""


@dataclass(frozen=True)
class NeededMemory:
    """An estimate of the memory that training takes, in bytes.

    Args:
        minimum: what no setting avoids: parameters, average, gradients and optimizer state.
        parameters: the same, with the copies of checkpoints.
        per_row: of a step for each batch row: what is kept for backpropagation.
        num_rows: batch rows that are processed at the same time.
    """

    minimum: float
    parameters: float
    per_row: float
    num_rows: int

    @property
    def step(self) -> float:
        """Memory of a training step."""
        return self.per_row * self.num_rows

    @property
    def total(self) -> float:
        """All of it."""
        return self.parameters + self.step


def parameter_memory(architecture: Architecture, optimizer: str) -> tuple[float, float]:
    """Return the bytes that parameters take in training, at least and with the copies of checkpoints."""
    shapes = expected_shapes(architecture)
    size = FLOAT_BYTES * sum(math.prod(shape) for shape in shapes.values())
    state = FLOAT_BYTES * sum(_state_size(name, shape, optimizer) for name, shape in shapes.items())
    minimum, saved = NUM_COPIES * size + state, 2 * size + state
    return minimum, minimum + saved + OTHER_COPIES * size


def _state_size(name: str, shape: tuple[int, ...], optimizer: str) -> int:
    """Return how many numbers an optimizer keeps for a parameter, besides step counters (see `make_optimizers`)."""
    if optimizer not in ("muon", "adamw"):
        return 0
    if optimizer == "muon" and len(shape) == 2:
        if name.startswith(INNER):
            return math.prod(shape) + shape[0]  # momentum, and mean squares of rows
        if name.startswith(TABLES) and name != "embedding.weight":
            return MOMENTS * shape[0]
    return MOMENTS * math.prod(shape)


def needed_memory(network: Network, options: TrainingOptions, *, batch_size: int, num_workers: int) -> NeededMemory:
    """Return an estimate of the memory that training takes; what a step keeps is measured on two short batches.

    Args:
        network: on its device.
        options: resolved training options.
        batch_size: B.
        num_workers: groups of batch rows that are processed at the same time, on a CPU.
    """
    lengths = [min(length, options.bptt_length) for length in MEASURED_LENGTHS]
    saved = [
        sum(saved_bytes(network, options, length=length, batch_size=MEASURED_ROWS).values()) / MEASURED_ROWS
        for length in lengths
    ]
    per_token = (saved[1] - saved[0]) / (lengths[1] - lengths[0]) if lengths[1] > lengths[0] else saved[0] / lengths[0]
    groups = group_bounds(batch_size, batch_size, device=network.device.type)
    logits = network.architecture.vocab_size * FLOAT_BYTES
    positions = options.bptt_length * max(last - first for first, last in groups)
    if is_chunked(positions, network.architecture.vocab_size, network.device.type):
        per_token -= logits
    else:
        per_token += logits  # their gradient
    per_row = per_token * options.bptt_length
    num_rows = sum(sorted((last - first for first, last in groups), reverse=True)[:num_workers])
    return NeededMemory(*parameter_memory(network.architecture, options.optimizer), per_row, num_rows)


def refuse_impossible_size(architecture: Architecture, options: TrainingOptions, device: str) -> None:
    """Refuse a network whose parameters alone take more than all memory. Raises TrainingError."""
    minimum, _ = parameter_memory(architecture, options.optimizer)
    total = total_bytes(device)
    if total is not None and minimum > total:
        option = _size_option(architecture)
        size = architecture.hidden_size if option == "--hidden-size" else architecture.vocab_size
        raise TrainingError(
            f"{option}: found {size:,}, but the parameters, their average, gradients and the state of the optimizer would "
            f"take at least {_shown(minimum)}, and {_where(device)} has {_shown(total)}; use a smaller value"
        )


def report_memory(network: Network, options: TrainingOptions, *, batch_size: int, num_workers: int) -> None:
    """Log what to change if training is likely to take more memory than is available.

    Args:
        network: on its device.
        options: resolved training options.
        batch_size: B.
        num_workers: see `needed_memory`.
    """
    device = network.device.type
    available = available_bytes(device)
    if available is None or _rough_bytes(network.architecture, options, batch_size) < SMALL_FRACTION * available:
        return
    needed = needed_memory(network, options, batch_size=batch_size, num_workers=num_workers)
    if needed.total <= SAFE_FRACTION * available:
        return
    logger.info(
        f"training will take about {_shown(needed.total)} ({_shown(needed.parameters)} for parameters and checkpoints, "
        f"{_shown(needed.step)} for a step), but {_where(device)} has {_shown(available)} available: "
        f"{_advice(needed, network.architecture, options, batch_size, SAFE_FRACTION * available)}"
    )


def _rough_bytes(shape: Architecture, options: TrainingOptions, batch_size: int) -> float:
    """Return what training takes at most, as far as the sizes of the network tell."""
    floats = ROUGH_FLOATS * shape.hidden_size * shape.num_layers + ROUGH_LOGITS * shape.vocab_size
    floats += ROUGH_WEIGHTS * shape.attention_window
    return parameter_memory(shape, options.optimizer)[1] + FLOAT_BYTES * floats * batch_size * options.bptt_length


def _advice(needed: NeededMemory, shape: Architecture, options: TrainingOptions, batch_size: int, room: float) -> str:
    """Return the option that makes training fit, with a value if one is enough."""
    if needed.parameters > room:
        return f"use a smaller {_size_option(shape)}"
    fraction = (room - needed.parameters) / needed.step
    if (rows := int(batch_size * fraction)) >= 1:
        return f"use --batch-size {_rounded(rows)}"
    return f"use --batch-size 1 --bptt {_rounded(max(1, int(options.bptt_length * batch_size * fraction)))}"


def _rounded(number: int) -> int:
    """Return the largest power of two that is not larger."""
    return 1 << (number.bit_length() - 1)


def _size_option(shape: Architecture) -> str:
    """Return the option that decides most parameters."""
    sizes = {name: math.prod(size) for name, size in expected_shapes(shape).items()}
    of_layers = sum(size for name, size in sizes.items() if name.startswith(INNER))
    of_tokens = sum(size for name, size in sizes.items() if not name.startswith(INNER))
    if of_layers >= of_tokens or shape.vocab_size <= 1000:
        return "--hidden-size"
    return "--vocab-size"


def _where(device: str) -> str:
    return "the GPU" if device == "cuda" else "this machine"


def _shown(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:,.0f} MB"


def available_bytes(device: str) -> int | None:
    """Return the memory that this process may still take; None if the system does not tell."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    limits = [_meminfo("MemAvailable:"), _left_in_group()]
    return min((limit for limit in limits if limit is not None), default=_physical_bytes())


def total_bytes(device: str) -> int | None:
    """Return all memory that this process could take, with swap space; None if the system does not tell."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    total = _meminfo("MemTotal:")
    total = _physical_bytes() if total is None else total + (_meminfo("SwapTotal:") or 0)
    limits = [total, _group_number("memory.max", "memory.limit_in_bytes")]
    return min((limit for limit in limits if limit is not None), default=None)


def _physical_bytes() -> int | None:
    """Return the physical memory of a system without /proc; None if it does not tell."""
    if sys.platform == "win32" or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _meminfo(name: str, file: Path = Path("/proc/meminfo")) -> int | None:
    """Return a line of /proc/meminfo in bytes, None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None


def _left_in_group() -> int | None:
    """Return what the control group of this process may still take, None without a limit."""
    limit = _group_number("memory.max", "memory.limit_in_bytes")
    used = _group_number("memory.current", "memory.usage_in_bytes")
    return None if limit is None or used is None else max(0, limit - used)


def _group_number(name: str, old_name: str, root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return a number of the memory controller of this process's control group, of version 2 or 1; None without a limit."""
    for file in (*_group_files(name, root), root / "memory" / old_name):
        with contextlib.suppress(OSError, ValueError):
            number = int(file.read_text(encoding="ascii"))
            return None if number >= UNLIMITED else number
    return None


def _group_files(name: str, root: Path) -> Sequence[Path]:
    """Return where a file of version 2 may be: in the group of this process, or at the root of a container."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::/"):
                return root / line.removeprefix("0::/").strip() / name, root / name
    return (root / name,)
