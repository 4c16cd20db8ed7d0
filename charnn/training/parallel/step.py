"""A training step: the gradient of each group of lanes, their sum, and the update, all shared out among workers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from charnn.config import TrainingOptions
from charnn.training.batches import IdArray
from charnn.training.network.network import Network, NetworkState, detached
from charnn.training.objective import Counts, objective
from charnn.training.optim.optimizers import Optimizer, pieces, set_rate
from charnn.training.parallel.groups import generator_for, group_bounds
from charnn.training.parallel.workers import Task, Workers

CLIP_EPSILON = 1e-6
"""Added to the norm by which a gradient is divided, as torch's `clip_grad_norm_` does."""


class StepResult(NamedTuple):
    """The outcome of a training step.

    Args:
        loss: the batch's summed loss in nats, on the device.
        norm: the norm of its gradient before clipping, on the device.
        states: the state of each group after its last token.
        num_targets: the targets that the loss is summed over.
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


class PreparedStep(NamedTuple):
    """A step whose work can be divided among workers.

    Args:
        tasks: one for each group of lanes, which runs it forward and backward.
        learning_rate: for the update that follows.
        num_targets: the targets that the loss is summed over.
    """

    tasks: Sequence[Task[GroupResult]]
    learning_rate: float
    num_targets: int


def held_accumulators(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return what must be kept as long as several threads read the same parameters forward: without it they may deadlock.

    An operation on a parameter makes a graph node (`AccumulateGrad`) where there is none, under a lock of the parameter; torch
    takes Python's lock under it, since the node holds the parameter. Another thread that reads `parameter.T` has Python's
    lock and waits for that of the parameter (torch 2.13). Where a graph that stays holds the nodes, none is made. The nodes
    themselves would not do: one that Python holds is handed out under Python's lock, too.
    """
    return [weight.expand_as(weight) for weight in parameters]


class _SummedGradient:
    """The gradient of one parameter, added up over the groups in their order, in memory that is used again.

    A table's gradient comes as the rows that a group looked up. Only those are added, and set to zero again afterwards.
    """

    def __init__(self, parameter: Tensor, clip_value: float) -> None:
        self.total = torch.zeros_like(parameter)
        self._clip_value = clip_value or math.inf
        self._touched: Tensor | None = None

    def tasks(self, parts: Sequence[Tensor]) -> list[Task[Tensor]]:
        """Return tasks that add up the groups' gradients, each of which returns the norm of what it added up."""
        if parts[0].is_sparse:
            return [partial(self._add_rows, parts)]
        cut = [pieces(part.contiguous()) for part in parts]
        return [partial(self._add, total, of) for total, *of in zip(pieces(self.total), *cut, strict=True)]

    @torch.no_grad()
    def _add(self, total: Tensor, parts: Sequence[Tensor]) -> Tensor:
        total.copy_(parts[0])
        for part in parts[1:]:
            total.add_(part)
        self._clip(total)
        norm: Tensor = torch.linalg.vector_norm(total)
        return norm

    @torch.no_grad()
    def _add_rows(self, parts: Sequence[Tensor]) -> Tensor:
        if self._touched is not None:
            self.total.index_fill_(0, self._touched, 0.0)
        for part in parts:
            self.total.index_add_(0, part._indices()[0], part._values().to(self.total.dtype))
        self._touched = torch.unique(torch.cat([part._indices()[0] for part in parts]))
        rows = self.total[self._touched]
        if math.isfinite(self._clip_value):
            self._clip(rows)
            self.total[self._touched] = rows
        norm: Tensor = torch.linalg.vector_norm(rows)
        return norm

    def _clip(self, gradient: Tensor) -> None:
        if math.isfinite(self._clip_value):
            gradient.clamp_(-self._clip_value, self._clip_value)


@dataclass
class TrainingStep:
    """Training steps of a network; for each, `prepare` returns tasks, and `update` takes their results.

    Args:
        network: on its device.
        optimizers: together they update all its parameters.
        options: resolved training options.
        precision: fp32 or bf16 (autocast).
        workers: threads that the work is divided among; the weights do not depend on how many there are.
    """

    network: Network
    optimizers: Sequence[Optimizer]
    options: TrainingOptions
    precision: str
    workers: Workers

    def __post_init__(self) -> None:
        self._device = self.network.device.type
        self._parameters = [weight for optimizer in self.optimizers for weight in optimizer.parameters]
        self._held = held_accumulators(self._parameters)
        self._sums = [_SummedGradient(weight, self.options.clip_value or 0.0) for weight in self._parameters]

    def prepare(
        self,
        inputs_TB: IdArray,
        targets_TB: IdArray,
        states: Sequence[NetworkState] | None,
        *,
        learning_rate: float,
        number: int,
        teacher_forcing_probability: float = 1.0,
    ) -> PreparedStep:
        """Divide a batch into tasks, whose results `update` expects in their order.

        Args:
            inputs_TB: input tokens.
            targets_TB: the tokens that follow them, `IGNORED` where there is none.
            states: of each group of lanes, or None for initial states.
            number: of the step; everything random is a function of it, the seed and the group.
            teacher_forcing_probability: of feeding the true token rather than the model's own.
        """
        bounds = group_bounds(inputs_TB.shape[1], self._device)
        counts = Counts.of(targets_TB)
        tasks = [
            partial(
                self._run_group,
                torch.from_numpy(inputs_TB[:, first:last].copy()),
                torch.from_numpy(targets_TB[:, first:last].copy()),
                None if states is None else states[group],
                counts=counts,
                draws=(self.options.seed, number, group),
                teacher_forcing_probability=teacher_forcing_probability,
            )
            for group, (first, last) in enumerate(bounds)
        ]
        return PreparedStep(tasks, learning_rate, counts.targets)

    def update(self, step: PreparedStep, groups: Sequence[GroupResult]) -> StepResult:
        """Update the weights by the gradients of all groups."""
        loss = torch.stack([group.loss for group in groups]).sum()
        norm = self._update([group.gradients for group in groups], step.learning_rate)
        return StepResult(loss, norm, [group.state for group in groups], step.num_targets)

    def _run_group(
        self,
        inputs_TB: Tensor,
        targets_TB: Tensor,
        state: NetworkState | None,
        *,
        counts: Counts,
        draws: tuple[int, ...],
        teacher_forcing_probability: float,
    ) -> GroupResult:
        """Run a group of lanes forward and backward."""
        if state is None:
            state = self.network.initial_state(inputs_TB.shape[1])
        with torch.autocast(self._device, torch.bfloat16, enabled=self.precision == "bf16"):
            result = objective(
                self.network,
                inputs_TB.to(self._device, non_blocking=True),
                targets_TB.to(self._device, non_blocking=True),
                state,
                counts=counts,
                options=self.options,
                generator=generator_for(draws, self._device),
                teacher_forcing_probability=teacher_forcing_probability,
            )
        gradients = torch.autograd.grad(result.objective_nats, self._parameters, allow_unused=True)
        return GroupResult(result.loss, gradients, detached(result.state))

    def _update(self, gradients: Sequence[Sequence[Tensor | None]], learning_rate: float) -> Tensor:
        """Sum the gradients of the groups, clip the sum and update the weights; return the norm before clipping."""
        totals: list[Tensor | None] = []
        adding: list[Task[Tensor]] = []
        for total, parts in zip(self._sums, zip(*gradients, strict=True), strict=True):
            present = [part for part in parts if part is not None]
            totals.append(total.total if present else None)
            adding += total.tasks(present) if present else []
        norm: Tensor = torch.linalg.vector_norm(torch.stack(self.workers.run(adding)))
        scale = torch.ones_like(norm)
        if self.options.clip_norm:
            scale = (self.options.clip_norm / (norm + CLIP_EPSILON)).clamp(max=1.0)
        scale = torch.where(norm.isfinite(), scale, 0.0)  # rows that nothing looked up stay zero, whatever it is
        set_rate(self.optimizers, learning_rate)
        updates: list[Task[None]] = []
        waiting = iter(totals)
        for optimizer in self.optimizers:
            updates += optimizer.updates([next(waiting) for _ in optimizer.parameters], scale)
        self.workers.run(updates)
        return norm
