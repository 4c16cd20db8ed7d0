"""Muon: momentum whose update is made orthogonal, with the products that this takes done on the small side of the matrix.

Source: Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks; the scale follows Liu et al. (2025), so
that an update is as long as AdamW's.

`torch.optim.Muon` always multiplies in bf16, which takes dozens of times as long on a processor without units for it. To make
one loads torch's compiler, which takes seconds, and its step cannot be divided among workers.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from charnn.training.parallel.workers import Task

NEWTON_SCHULZ_STEPS = 3
"""Iterations; two more gain too little for the time that they take."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Those of X <- a X + b X X'X + c X (X'X)^2, chosen by Jordan et al. to blow small singular values up quickly."""
ADAMW_LENGTH = 0.2
"""The root mean square of an entry of AdamW's update, by experience."""


class Muon:
    """Muon with Nesterov momentum and decoupled weight decay; see `charnn.training.optim.optimizers.Optimizer`.

    Args:
        parameters: matrices.
        weight_decay: per update, scaled by the learning rate.
        momentum: fraction of the momentum that an update keeps.
        every: steps in an update, whose gradients all enter the momentum: where steps are short, the products of one
            update would take longer than the gradient.
        dtype: in which the products are done: bf16 where the processor has units for it.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        weight_decay: float,
        momentum: float = 0.95,
        every: int = 1,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.parameters = list(parameters)
        self.rate = 0.0
        self.every = every
        self.weight_decay = weight_decay
        self._dtype = dtype
        self._momenta = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._steps = [torch.zeros(()) for _ in self.parameters]
        self.set_momentum(momentum)

    def set_momentum(self, momentum: float) -> None:
        """Set the fraction of the momentum that an update keeps; each of its steps keeps a root of it."""
        self.momentum_a_step = float(momentum ** (1 / self.every))

    def state(self, index: int) -> dict[str, Tensor]:
        """Return momentum and counter of a parameter."""
        return {"momentum_buffer": self._momenta[index], "step": self._steps[index]}

    def updates(self, gradients: Sequence[Tensor | None], scale: Tensor) -> list[Task[None]]:
        """Return a task for each matrix: its gradient enters the momentum, and if it is its turn it moves."""
        tasks: list[Task[None]] = []
        for weight, gradient, momentum, step in zip(
            self.parameters, gradients, self._momenta, self._steps, strict=True
        ):
            if gradient is None:
                continue
            step += 1
            moves = int(step) % self.every == 0
            tasks.append(partial(self._update, weight.detach(), gradient, momentum, scale, moves=moves))
        return tasks

    @torch.no_grad()
    def _update(self, weight: Tensor, gradient: Tensor, momentum: Tensor, scale: Tensor, *, moves: bool) -> None:
        gradient.mul_(scale)
        momentum.lerp_(gradient, 1 - self.momentum_a_step)
        if not moves:
            return
        update = orthogonalised(gradient.lerp(momentum, self.momentum_a_step).to(self._dtype)[None])[0]
        length = ADAMW_LENGTH * math.sqrt(max(weight.shape))
        weight.mul_(1 - self.rate * self.weight_decay)
        weight.add_(update.to(weight.dtype), alpha=-self.rate * length)


def orthogonalised(matrices_KMN: Tensor) -> Tensor:
    """Return about the nearest matrices with orthonormal rows or columns, by Newton-Schulz iteration.

    Every iterate is the matrix times a polynomial in its Gram matrix, which has the smaller side's size: the iteration is
    done on that polynomial, and the long matrix enters twice only.

    Args:
        matrices_KMN: K matrices of M rows.
    """
    a, b, c = COEFFICIENTS
    matrices: Tensor = matrices_KMN / matrices_KMN.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    is_tall = matrices.shape[1] > matrices.shape[2]
    gram = matrices.mT @ matrices if is_tall else matrices @ matrices.mT
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    polynomial = identity
    for number in range(1, NEWTON_SCHULZ_STEPS + 1):
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial = (
            torch.add(step, identity, alpha=a) if number == 1 else torch.baddbmm(polynomial, step, polynomial, beta=a)
        )
        if number < NEWTON_SCHULZ_STEPS:
            half = torch.baddbmm(gram, gram, step, beta=a)
            gram = torch.baddbmm(half, step, half, beta=a)
    product: Tensor = matrices @ polynomial if is_tall else polynomial @ matrices
    return product
