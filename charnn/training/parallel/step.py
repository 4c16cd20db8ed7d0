"""A training step: the gradient of each group of lanes, their sum, and the update, all divided among workers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from charnn.config import TrainingOptions
from charnn.training.batches import IdArray
from charnn.training.network.freezing import Trainable, trainable
from charnn.training.network.network import Network, NetworkState, detached
from charnn.training.objective import Counts, objective
from charnn.training.optim.gradient import Gradient
from charnn.training.optim.optimizers import Optimizer, flat_chunks, set_learning_rate
from charnn.training.parallel.exchange import Exchange, GroupGradients, Undivided, gradients_of
from charnn.training.parallel.groups import group_bounds, make_generator
from charnn.training.parallel.ranks import owned
from charnn.training.parallel.shared_memory import Allocate
from charnn.training.parallel.workers import Task, Workers

CLIP_EPSILON = 1e-6
"""Added to the norm by which a gradient is divided, as torch's `clip_grad_norm_` does."""


class StepResult(NamedTuple):
    """The outcome of a training step.

    Args:
        loss: the batch's summed loss in nats, on the device.
        norm: the norm of the gradient before clipping, on the device.
        states: the state of each group that this process has, after its last token.
        num_targets: number of targets that the loss is summed over.
    """

    loss: Tensor
    norm: Tensor
    states: list[NetworkState]
    num_targets: int


class GroupResult(NamedTuple):
    """The loss, the gradients and the final state of a group of lanes."""

    loss: Tensor
    gradients: Sequence[Tensor | None]
    state: NetworkState

    def part(self) -> GroupGradients:
        """Return what the update needs."""
        return GroupGradients(self.loss, self.gradients)


class PreparedStep(NamedTuple):
    """A step whose work can be divided among workers.

    Args:
        tasks: one for each group of lanes that this process has, which runs it forward and backward.
        learning_rate: for the update that follows.
        num_targets: number of targets that the loss is summed over.
        num_groups: number of groups of all ranks.
    """

    tasks: Sequence[Task[GroupResult]]
    learning_rate: float
    num_targets: int
    num_groups: int


def retained_accumulators(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors that must stay alive while several threads run forward passes on the parameters, to avoid a deadlock.

    The first operation on a parameter creates its graph node (`AccumulateGrad`) under a lock of the parameter, and torch then
    acquires the GIL. Another thread that evaluates `parameter.T` holds the GIL and waits for the lock of the parameter (torch
    2.13). While a live graph references the nodes, none is created. References to the nodes themselves do not suffice:
    accessing a node that Python references also acquires the GIL under the lock.
    """
    return [weight.expand_as(weight) for weight in parameters]


class _SummedGradient:
    """The gradient of one parameter, summed over the groups in order, in a buffer that is reused.

    The gradient of an embedding table is sparse: only the rows that a group looked up are added, and reset before the next sum.
    """

    def __init__(self, part: Trainable, clip_value: float, zeros_like: Allocate) -> None:
        self._total = zeros_like(part.rows)
        self._first_row = part.first_row
        self._clip_value = clip_value or math.inf
        self._touched: Tensor | None = None

    def tasks(self, gradients: Sequence[Tensor]) -> tuple[Gradient, list[Task[Tensor]]]:
        """Return where the sum of the gradients of the groups will be, and tasks that sum them; each returns a norm."""
        if gradients[0].is_sparse:
            parts = [self._rows_of(gradient) for gradient in gradients]
            return Gradient(self._total, [rows for rows, _ in parts]), [partial(self._add_rows, parts)]
        gradients = [gradient[self._first_row :] for gradient in gradients]
        chunks = zip(flat_chunks(self._total), *(flat_chunks(each.contiguous()) for each in gradients), strict=True)
        return Gradient(self._total), [partial(self._add, total, of) for total, *of in chunks]

    @torch.no_grad()
    def _add(self, total: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        total.copy_(gradients[0])
        for gradient in gradients[1:]:
            total.add_(gradient)
        self._clip(total)
        norm: Tensor = torch.linalg.vector_norm(total)
        return norm

    def _rows_of(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the indices and values of a sparse gradient, without frozen rows."""
        indices, values = gradient._indices()[0], gradient._values()
        if not self._first_row:
            return indices, values
        is_trained = indices >= self._first_row
        return indices[is_trained] - self._first_row, values[is_trained]

    @torch.no_grad()
    def _add_rows(self, gradients: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        if self._touched is not None:
            self._total.index_fill_(0, self._touched, 0.0)
        for indices, values in gradients:
            self._total.index_add_(0, indices, values.to(self._total.dtype))
        self._touched = torch.unique(torch.cat([indices for indices, _ in gradients]))
        rows = self._total[self._touched]
        if math.isfinite(self._clip_value):
            self._clip(rows)
            self._total[self._touched] = rows
        norm: Tensor = torch.linalg.vector_norm(rows)
        return norm

    def _clip(self, gradient: Tensor) -> None:
        if math.isfinite(self._clip_value):
            gradient.clamp_(-self._clip_value, self._clip_value)


@dataclass
class TrainingStep:
    """Training steps of a network; for each, run the tasks from `prepare` and pass their results to `update`.

    Args:
        network: on its device.
        optimizers: together they update all its parameters.
        options: resolved training options.
        precision: fp32 or bf16 (autocast).
        workers: threads that the work is divided among; the weights do not depend on how many there are.
        exchange: combines the gradients of several ranks; None for a single process.
        zeros_like: allocates the sums of gradients.
    """

    network: Network
    optimizers: Sequence[Optimizer]
    options: TrainingOptions
    precision: str
    workers: Workers
    exchange: Exchange | None = None
    zeros_like: Allocate = torch.zeros_like

    def __post_init__(self) -> None:
        self._device = self.network.device.type
        by_rows = {id(part.rows): part for part in trainable(self.network).values()}
        updated = [rows for optimizer in self.optimizers for rows in optimizer.parameters]
        parts = [by_rows[id(rows)] for rows in updated]
        self.parameters = [part.weight for part in parts]
        self._accumulators = retained_accumulators(self.parameters)
        self._sums = [_SummedGradient(part, self.options.clip_value or 0.0, self.zeros_like) for part in parts]

    def bounds(self, num_lanes: int) -> list[tuple[int, int]]:
        """Return the bounds of each group of lanes of a batch, in all ranks."""
        num_ranks = self.exchange.ranks.size if self.exchange else 1
        return group_bounds(num_lanes, self.options.batch_size or 1, device=self._device, num_ranks=num_ranks)

    def prepare(
        self,
        inputs_TB: IdArray,
        targets_TB: IdArray,
        states: Sequence[NetworkState] | None,
        *,
        learning_rate: float,
        step_index: int,
        teacher_forcing_probability: float = 1.0,
    ) -> PreparedStep:
        """Divide a batch into tasks; `update` expects their results in the same order.

        Args:
            inputs_TB: input tokens.
            targets_TB: the next tokens, `IGNORED` at padding.
            states: of each group of lanes that this process has, or None for the initial state.
            learning_rate: of the update.
            step_index: all randomness is a function of it, the seed and the group.
            teacher_forcing_probability: of feeding the reference token rather than a sample of the model's own.
        """
        bounds = self.bounds(inputs_TB.shape[1])
        counts = Counts.of(targets_TB)
        tasks = []
        for number, group in enumerate(self._own_groups(len(bounds))):
            lanes = slice(*bounds[group])
            tasks.append(
                partial(
                    self._run_group,
                    torch.from_numpy(inputs_TB[:, lanes].copy()),
                    torch.from_numpy(targets_TB[:, lanes].copy()),
                    None if states is None else states[number],
                    counts=counts,
                    key=(self.options.seed, step_index, group),
                    teacher_forcing_probability=teacher_forcing_probability,
                )
            )
        return PreparedStep(tasks, learning_rate, counts.targets, len(bounds))

    def _own_groups(self, num_groups: int) -> Sequence[int]:
        """Return the groups of lanes that this process has."""
        if self.exchange is None:
            return range(num_groups)
        return owned(num_groups, self.exchange.ranks.index, self.exchange.ranks.size)

    def update(self, step: PreparedStep, groups: Sequence[GroupResult]) -> StepResult:
        """Update the weights with the gradients of all groups.

        Args:
            step: from `prepare`.
            groups: the results of its tasks, in order.
        """
        parts = [group.part() for group in groups]
        combined = self.exchange.combined(parts, step.num_groups) if self.exchange else gradients_of(parts)
        loss = torch.stack([*combined.losses]).sum()
        norm = self._update(combined.by_parameter, step.learning_rate)
        return StepResult(loss, norm, [group.state for group in groups], step.num_targets)

    def _run_group(
        self,
        inputs_TB: Tensor,
        targets_TB: Tensor,
        state: NetworkState | None,
        *,
        counts: Counts,
        key: tuple[int, ...],
        teacher_forcing_probability: float,
    ) -> GroupResult:
        """Run a group of lanes forward and backward."""
        if state is None:
            state = self.network.initial_state(inputs_TB.shape[1])
        # without the cache, which other threads would change (see `in_autocast_type`)
        with torch.autocast(self._device, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False):
            result = objective(
                self.network,
                inputs_TB.to(self._device, non_blocking=True),
                targets_TB.to(self._device, non_blocking=True),
                state,
                counts=counts,
                options=self.options,
                generator=make_generator(key, self._device),
                teacher_forcing_probability=teacher_forcing_probability,
            )
        gradients = [
            gradient.coalesce() if gradient is not None and gradient.is_sparse else gradient
            for gradient in torch.autograd.grad(result.objective_nats, self.parameters, allow_unused=True)
        ]
        return GroupResult(result.loss, gradients, detached(result.state))

    def _update(self, gradients: Sequence[Sequence[Tensor]], learning_rate: float) -> Tensor:
        """Sum the gradients of each parameter, clip the sum and update the weights; return the norm before clipping."""
        divided = self.exchange or Undivided()
        sums = [
            total.tasks(present) if present else (None, [])
            for total, present in zip(self._sums, gradients, strict=True)
        ]
        norm: Tensor = torch.linalg.vector_norm(divided.norms([tasks for _, tasks in sums], self.workers))
        scale = torch.ones_like(norm)
        if self.options.clip_norm:
            scale = (self.options.clip_norm / (norm + CLIP_EPSILON)).clamp(max=1.0)
        scale = torch.where(norm.isfinite(), scale, 0.0)  # rows that were not looked up stay zero, whatever the norm
        set_learning_rate(self.optimizers, learning_rate)
        remaining = iter([total for total, _ in sums])
        updates: list[list[Task[None]]] = []
        for optimizer in self.optimizers:
            updates += optimizer.updates([next(remaining) for _ in optimizer.parameters], scale)
        divided.run(updates, self.workers)
        return norm
