"""Training by several ranks on one machine, which share one copy of the weights and of the moments of the optimizers.

Each rank writes the gradients of its groups into memory that all of them map, where the others read them, and runs a part of
the tasks of each update: what one process does with threads, in the same order, so the weights are the same, bit for bit.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from charnn.config import TrainingOptions
from charnn.training.network.freezing import trainable
from charnn.training.network.network import Network
from charnn.training.optim.muon import Muon
from charnn.training.optim.optimizers import Optimizer, flat_chunks, make_optimizers
from charnn.training.optim.row_rmsprop import RowRMSProp
from charnn.training.parallel.exchange import (
    ABSENT,
    DENSE,
    Exchange,
    Gradients,
    GroupGradients,
    sparse_rows,
    stored_size,
)
from charnn.training.parallel.groups import max_groups
from charnn.training.parallel.ranks import Ranks, owned
from charnn.training.parallel.shared_memory import SharedMemory, aligned, shared_memory
from charnn.training.parallel.workers import Result, Task, Workers

NUM_SLOTS = 2
"""A rank writes the gradients of a step where those of the step before the last one were, which no rank reads any more."""
ROWS_PER_PRODUCT = 16
"""Muon takes as many times as long for a matrix as AdamW for as many numbers as its smaller side has multiples of this."""
COST_OF_ROWS = 300_000.0
"""Numbers that can be added in the time that it takes to add the rows of sparse gradients."""


class _Place(NamedTuple):
    """Where a group writes its gradient of one parameter.

    Args:
        values: of all its numbers, or of the rows of a sparse one (N,).
        rows: the numbers of these rows (R,).
        shape: of the parameter.
    """

    values: Tensor
    rows: Tensor
    shape: torch.Size

    def write(self, gradient: Tensor | None) -> None:
        if gradient is None:
            return
        if gradient.is_sparse:
            self.rows[: stored_size(gradient)] = gradient._indices()[0]
            gradient = gradient._values()
        self.values[: gradient.numel()].copy_(gradient.reshape(-1))

    def read(self, size: int) -> Tensor:
        if size == DENSE:
            return self.values.view(self.shape)
        values = self.values[: size * self.shape[-1]].view(size, self.shape[-1])
        return sparse_rows(self.rows[:size], values, self.shape)


@dataclass
class SharedUpdate(Exchange):
    """Exchanges gradients in shared memory, and divides the update of shared weights among the ranks.

    Args:
        slots: by step, group and parameter, where gradients are.
        adding: by parameter, the rank of each of the tasks that sum its gradients.
        updating: likewise, of those that update it.
    """

    slots: Sequence[Sequence[Sequence[_Place]]] = ()
    adding: Sequence[Sequence[int]] = ()
    updating: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._step = 0

    def combined(self, groups: Sequence[GroupGradients], num_groups: int) -> Gradients:
        """See `Exchange`; the gradients are where each rank wrote them, until the step after the next one."""
        places = self.slots[self._step % NUM_SLOTS]
        self._step += 1
        by_rank = [owned(num_groups, rank, self.ranks.size) for rank in range(self.ranks.size)]
        for number, group in zip(by_rank[self.ranks.index], groups, strict=True):
            for place, gradient in zip(places[number], group.gradients, strict=True):
                place.write(gradient)
        losses, sizes = self._gathered_sizes(groups, [len(numbers) for numbers in by_rank])
        return Gradients(
            losses,
            [
                [
                    of_group[index].read(size)
                    for of_group, size in zip(places, of_parameter, strict=False)
                    if size != ABSENT
                ]
                for index, of_parameter in enumerate(zip(*sizes, strict=True))
            ],
        )

    def norms(self, additions: Sequence[Sequence[Task[Tensor]]], workers: Workers) -> Tensor:
        """Run the own share of the tasks; return the norms of all of them, which all ranks wait for."""
        tasks, runners = _with_ranks(additions, self.adding)
        own = [number for number, rank in enumerate(runners) if rank == self.ranks.index]
        norms = [0.0] * len(tasks)
        for number, norm in zip(own, workers.run([tasks[number] for number in own]), strict=True):
            norms[number] = float(norm)
        return torch.stack(self.ranks.gather(torch.tensor(norms)))[runners, torch.arange(len(tasks))]

    def run(self, updates: Sequence[Sequence[Task[None]]], workers: Workers) -> None:
        """Run the own share of the tasks; rank 0, which orders the next step, waits for the others."""
        tasks, runners = _with_ranks(updates, self.updating)
        workers.run([task for task, rank in zip(tasks, runners, strict=True) if rank == self.ranks.index])
        self.ranks.report()


def _with_ranks(
    tasks: Sequence[Sequence[Task[Result]]], ranks: Sequence[Sequence[int]]
) -> tuple[list[Task[Result]], list[int]]:
    """Return the tasks of all parameters, and the rank that runs each. A parameter may have no task, or one for all chunks."""
    of_parameters = zip(tasks, ranks, strict=True)
    pairs = [pair for of_one, ranks_of_one in of_parameters for pair in zip(of_one, ranks_of_one, strict=False)]
    return [task for task, _ in pairs], [rank for _, rank in pairs]


class Shared(NamedTuple):
    """What ranks that share weights train with.

    Args:
        memory: where the sums of gradients are to be allocated.
        optimizers: of the shared weights.
        exchange: with the other ranks.
    """

    memory: SharedMemory
    optimizers: list[Optimizer]
    exchange: SharedUpdate


def share_weights(network: Network, options: TrainingOptions, ranks: Ranks) -> Shared | None:
    """Move the weights of a network into memory that all ranks share; None if there is none. All ranks must call it.

    Args:
        network: on a CPU; of the same shape in all ranks.
        options: resolved training options.
        ranks: connected with each other.
    """
    assert options.batch_size is not None
    num_groups = max_groups(options.batch_size)
    weights = [part.weight for part in trainable(network).values()]
    memory = shared_memory(ranks, sum(_num_bytes(weight, num_groups) for weight in weights))
    if memory is None:
        return None
    for weight in weights:
        placed = memory.zeros_like(weight)
        weight.data = placed.copy_(weight.detach()) if ranks.is_first else placed
    for name, rows in network.trainable_rows.items():
        weight = network.named_weights()[name]
        network.trainable_rows[name] = weight.detach()[len(weight) - len(rows) :]
    optimizers = make_optimizers(network, options, memory.zeros_like)
    parts = {id(part.rows): part for part in trainable(network).values()}
    updated = [(parts[id(rows)], optimizer) for optimizer in optimizers for rows in optimizer.parameters]
    tables = {id(weight) for name, weight in network.named_weights().items() if name.startswith("embedding.")}
    exchange = SharedUpdate(
        ranks,
        [part.weight for part, _ in updated],
        slots=[
            [[_place(memory, part.weight) for part, _ in updated] for _ in range(num_groups)] for _ in range(NUM_SLOTS)
        ],
        adding=divided([_costs_of_adding(part.rows, id(part.weight) in tables) for part, _ in updated], ranks.size),
        updating=divided([_costs_of_updating(part.rows, optimizer) for part, optimizer in updated], ranks.size),
    )
    return Shared(memory, optimizers, exchange)


def _place(memory: SharedMemory, parameter: Tensor) -> _Place:
    num_rows = len(parameter) if parameter.dim() == 2 else 0
    return _Place(memory.zeros(parameter.numel()), memory.zeros(num_rows, dtype=torch.int64), parameter.shape)


def _num_bytes(weight: Tensor, num_groups: int) -> int:
    """Return how many bytes a weight takes at most: itself, the sum of its gradients, two moments, gradients and their rows."""
    whole, rows = aligned(4 * weight.numel()), aligned(8 * len(weight))
    return 4 * whole + NUM_SLOTS * num_groups * (whole + rows)


def _costs_of_adding(rows: Tensor, is_table: bool) -> list[float]:
    """Return the time for each task that sums gradients of a parameter, in numbers that can be added meanwhile."""
    costs = [float(chunk.numel()) for chunk in flat_chunks(rows.detach())]
    return [COST_OF_ROWS, *[0.0] * (len(costs) - 1)] if is_table else costs


def _costs_of_updating(rows: Tensor, optimizer: Optimizer) -> list[float]:
    """Return the time for each task that updates a parameter, in numbers that AdamW updates meanwhile."""
    if isinstance(optimizer, Muon):
        return [rows.numel() * (1 + min(rows.shape) / ROWS_PER_PRODUCT)]
    if isinstance(optimizer, RowRMSProp):
        return [COST_OF_ROWS]
    return [float(chunk.numel()) for chunk in flat_chunks(rows.detach())]


def divided(costs: Sequence[Sequence[float]], num_ranks: int) -> list[list[int]]:
    """Divide tasks among ranks, the most expensive first, each to the rank that has the least to do.

    Args:
        costs: of the tasks of each parameter.
    """
    ranks = [[0] * len(of_parameter) for of_parameter in costs]
    loads = [(0.0, rank) for rank in range(num_ranks)]
    tasks = [(cost, index, number) for index, of_one in enumerate(costs) for number, cost in enumerate(of_one)]
    for cost, index, number in sorted(tasks, key=lambda task: -task[0]):
        load, rank = heapq.heappop(loads)
        ranks[index][number] = rank
        heapq.heappush(loads, (load + cost, rank))
    return ranks
