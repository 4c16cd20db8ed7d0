"""The gradients of groups of lanes that several ranks computed, added so that all ranks have the same sums.

By default they are added in the order of the groups, as in a single process, so the weights are the same, bit for bit: each
rank adds one part of the gradient for all groups, and the parts are then gathered, which sends as much as an all-reduce does.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from charnn.training.parallel.ranks import Ranks, owned
from charnn.training.parallel.workers import Task, Workers

ABSENT, DENSE = -2, -1
"""Sizes of gradients that a group does not have, and that are not sparse; sparse ones have a number of rows."""


class Gradients(NamedTuple):
    """What the groups of lanes yield for an update.

    Args:
        losses: one for each group, in order.
        by_parameter: for each parameter the gradients to add, in order; those of sparse ones have distinct rows.
    """

    losses: Sequence[Tensor]
    by_parameter: Sequence[Sequence[Tensor]]


class GroupGradients(NamedTuple):
    """The summed loss of a group of lanes, and its gradient for each parameter."""

    loss: Tensor
    gradients: Sequence[Tensor | None]


def gradients_of(groups: Sequence[GroupGradients]) -> Gradients:
    """Return the gradients of groups that were all processed here."""
    by_parameter = zip(*(group.gradients for group in groups), strict=True)
    return Gradients(
        [group.loss for group in groups],
        [[gradient for gradient in of_groups if gradient is not None] for of_groups in by_parameter],
    )


class Undivided:
    """Updates of which this process runs all tasks: it is alone, or each rank has weights of its own."""

    def norms(self, additions: Sequence[Sequence[Task[Tensor]]], workers: Workers) -> Tensor:
        """Run the tasks of each parameter that sum its gradients; return the norms that they return, in order."""
        return torch.stack(workers.run([*itertools.chain.from_iterable(additions)]))

    def run(self, updates: Sequence[Sequence[Task[None]]], workers: Workers) -> None:
        """Run the tasks that update each parameter."""
        workers.run([*itertools.chain.from_iterable(updates)])


@dataclass
class Exchange(Undivided):
    """Exchanges gradients with the other ranks.

    Args:
        ranks: connected with each other.
        parameters: in the order of the gradients.
        is_exact: add in the order of the groups, as a single process does; otherwise in the order of an all-reduce, as on GPUs.
        wants_stop: whether this rank was asked to stop, which it tells the others.
    """

    ranks: Ranks
    parameters: Sequence[Tensor]
    is_exact: bool = True
    wants_stop: bool = False

    def __post_init__(self) -> None:
        self.stop_requested = False
        """Whether any rank was asked to stop."""

    def combined(self, groups: Sequence[GroupGradients], num_groups: int) -> Gradients:
        """Combine the gradients of all ranks.

        Args:
            groups: those that this rank processed.
            num_groups: of all ranks.
        """
        if self.parameters[0].is_cuda:
            return self._reduced_whole(groups)
        num_owned = [len(owned(num_groups, rank, self.ranks.size)) for rank in range(self.ranks.size)]
        if not self.is_exact:
            groups, num_owned = _added(groups), [min(1, number) for number in num_owned]
        losses, sizes = self._gathered_sizes(groups, num_owned)
        kinds = [max(of_parameter) for of_parameter in zip(*sizes, strict=True)]
        dense = [index for index, kind in enumerate(kinds) if kind == DENSE]
        own = self._dense_rows(groups, dense)
        if self.is_exact and self.ranks.size == 2:  # as many bytes as in parts, in one message
            matrices, packed = self._gathered_together(own, _packed_rows(groups), num_owned, self._row_floats(sizes))
            summed = _in_order(torch.cat(matrices))
        else:
            summed = self._added_in_parts(own, num_owned) if self.is_exact else self.ranks.sum(own.sum(dim=0))
            packed = self._gathered_rows(_packed_rows(groups), num_owned, self._row_floats(sizes))
        rows = self._unpacked_rows(packed, num_owned, sizes)
        lengths = [self.parameters[index].numel() for index in dense]
        parts = torch.split(summed[: sum(lengths)], lengths)
        sums = {index: part.view_as(self.parameters[index]) for index, part in zip(dense, parts, strict=True)}
        return Gradients(
            losses, [[sums[index]] if index in sums else rows.get(index, []) for index in range(len(self.parameters))]
        )

    def _gathered_sizes(
        self, groups: Sequence[GroupGradients], num_owned: Sequence[int]
    ) -> tuple[list[Tensor], list[list[int]]]:
        """Return the loss of each group, and for each group the size of each of its gradients."""
        width = len(self.parameters) + 1
        sent = torch.zeros(1 + max(num_owned) * width, dtype=torch.int64)
        sent[0] = int(self.wants_stop)
        for number, group in enumerate(groups):
            sizes = [stored_size(gradient) for gradient in group.gradients]
            loss = group.loss.detach().double().reshape(1).view(torch.int64)
            sent[1 + number * width : 1 + (number + 1) * width] = torch.cat([loss, torch.tensor(sizes)])
        gathered = self.ranks.gather(sent)
        self.stop_requested = any(bool(received[0]) for received in gathered)
        rows = torch.cat(
            [received[1 : 1 + number * width] for received, number in zip(gathered, num_owned, strict=True)]
        ).view(-1, width)
        losses = rows[:, 0].contiguous().view(torch.float64).float()
        return list(losses), [row[1:] for row in rows.tolist()]

    def _dense_rows(self, groups: Sequence[GroupGradients], dense: Sequence[int]) -> Tensor:
        """Return the gradients of each group that are not sparse, as a row each; rows can be divided among the ranks."""
        total, size = sum(self.parameters[index].numel() for index in dense), self.ranks.size
        own = torch.zeros(len(groups), -(-total // size) * size)
        for row, group in zip(own, groups, strict=True):
            torch.cat([_present(group.gradients[index]).reshape(-1) for index in dense], out=row[:total])
        return own

    def _added_in_parts(self, own: Tensor, num_owned: Sequence[int]) -> Tensor:
        """Return the sum of the rows of all ranks, added from the first to the last. Each rank adds one part of the columns."""
        size = self.ranks.size
        length = own.shape[1] // size
        parts = own.view(len(own), size, length).transpose(0, 1).reshape(-1)
        received = self.ranks.exchange(parts, [len(own) * length] * size, [number * length for number in num_owned])
        return torch.cat(self.ranks.gather(_in_order(received.view(-1, length))))

    def _row_floats(self, sizes: Sequence[Sequence[int]]) -> list[int]:
        """Return how many floats the packed rows of each group are."""
        widths = [1 + parameter.shape[-1] for parameter in self.parameters]
        return [sum(max(size, 0) * width for size, width in zip(of_group, widths, strict=True)) for of_group in sizes]

    def _gathered_rows(self, own: Tensor, num_owned: Sequence[int], row_floats: Sequence[int]) -> list[Tensor]:
        """Return the packed rows of each rank."""
        lengths = _sums_by_rank(row_floats, num_owned)
        sent = torch.zeros(max(lengths))
        sent[: len(own)] = own
        return self.ranks.gather(sent) if len(sent) else [sent] * self.ranks.size

    def _gathered_together(
        self, own: Tensor, packed: Tensor, num_owned: Sequence[int], row_floats: Sequence[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the dense gradients of each rank, a row for each group, and its packed rows of sparse ones."""
        width = own.shape[1]
        lengths = _sums_by_rank([width + floats for floats in row_floats], num_owned)
        sent = torch.zeros(max(lengths))
        torch.cat([own.reshape(-1), packed], out=sent[: own.numel() + len(packed)])
        received = self.ranks.gather(sent)
        return (
            [part[: number * width].view(number, width) for part, number in zip(received, num_owned, strict=True)],
            [part[number * width :] for part, number in zip(received, num_owned, strict=True)],
        )

    def _unpacked_rows(
        self, packed: Sequence[Tensor], num_owned: Sequence[int], sizes: Sequence[Sequence[int]]
    ) -> dict[int, list[Tensor]]:
        """Return the sparse gradients of each parameter that has any, one for each group."""
        rows: dict[int, list[Tensor]] = {}
        groups = iter(sizes)
        for received, number in zip(packed, num_owned, strict=True):
            start = 0
            for _ in range(number):
                for index, (size, parameter) in enumerate(zip(next(groups), self.parameters, strict=True)):
                    if size < 0:
                        continue
                    width = parameter.shape[-1]
                    indices = received[start : start + size].view(torch.int32).long()
                    values = received[start + size : start + size * (1 + width)].view(size, width)
                    start += size * (1 + width)
                    rows.setdefault(index, []).append(sparse_rows(indices, values, parameter.shape))
        return rows

    def _reduced_whole(self, groups: Sequence[GroupGradients]) -> Gradients:
        """All-reduce all gradients at once, with their losses; sparse ones become dense, which fast connections allow."""
        device = self.parameters[0].device
        lengths = [parameter.numel() for parameter in self.parameters]
        facts = torch.zeros(2 + len(lengths), device=device)
        facts[0] = float(self.wants_stop)
        own = torch.zeros(sum(lengths), device=device)
        for group in groups:
            facts[1] += group.loss.detach()
            for part, gradient in zip(torch.split(own, lengths), group.gradients, strict=True):
                if gradient is not None:
                    part += (gradient.to_dense() if gradient.is_sparse else gradient).reshape(-1)
            facts[2:] = torch.tensor([float(gradient is not None) for gradient in group.gradients], device=device)
        summed = self.ranks.sum(torch.cat([facts, own]))
        loss = summed[1]
        wants_stop, _, *present = summed[: len(facts)].tolist()
        self.stop_requested = wants_stop > 0
        parts = torch.split(summed[len(facts) :], lengths)
        return Gradients(
            [loss],
            [
                [part.view_as(parameter)] if is_present else []
                for part, parameter, is_present in zip(parts, self.parameters, present, strict=True)
            ],
        )


def _in_order(rows: Tensor) -> Tensor:
    """Return the sum of rows, added from the first to the last."""
    total = rows[0]
    for row in rows[1:]:
        total.add_(row)
    return total


def _sums_by_rank(numbers: Sequence[int], num_owned: Sequence[int]) -> list[int]:
    """Return the sum of what the groups of each rank have."""
    left = iter(numbers)
    return [sum(itertools.islice(left, number)) for number in num_owned]


def _packed_rows(groups: Sequence[GroupGradients]) -> Tensor:
    """Return the sparse gradients of groups as floats: of each the numbers of its rows, then the rows."""
    parts = [
        part
        for group in groups
        for gradient in group.gradients
        if gradient is not None and gradient.is_sparse
        for part in (_as_floats(gradient._indices()[0]), gradient._values().float().reshape(-1))
    ]
    return torch.cat(parts) if parts else torch.zeros(0)


def stored_size(gradient: Tensor | None) -> int:
    """Return the number of rows of a sparse gradient, DENSE, or ABSENT."""
    if gradient is None:
        return ABSENT
    return len(gradient._values()) if gradient.is_sparse else DENSE


def _present(gradient: Tensor | None) -> Tensor:
    assert gradient is not None, "a parameter has a gradient in all groups or in none"
    return gradient.float()


def _as_floats(indices: Tensor) -> Tensor:
    """Return row numbers as the floats with the same bits, which are sent with the values and never computed with."""
    return indices.to(torch.int32).view(torch.float32)


def sparse_rows(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Return a sparse gradient of a shape from the numbers of its rows, which are distinct and sorted, and the rows."""
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)


def _added(groups: Sequence[GroupGradients]) -> list[GroupGradients]:
    """Return the groups of a rank as one."""
    if len(groups) < 2:
        return list(groups)
    loss = torch.stack([group.loss for group in groups]).sum()
    gradients: list[Tensor | None] = []
    for of_groups in zip(*(group.gradients for group in groups), strict=True):
        present = [gradient for gradient in of_groups if gradient is not None]
        summed = present[0] if present else None
        for gradient in present[1:]:
            summed = summed + gradient
        gradients.append(summed.coalesce() if summed is not None and summed.is_sparse else summed)
    return [GroupGradients(loss, gradients)]
