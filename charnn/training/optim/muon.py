"""Muon: momentum with an orthogonalized update, computed from the smaller Gram matrix, whose rows are then normalized.

Source: Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks; the scale follows Liu et al. (2025), so
that updates have the norm of AdamW's. Such an update of a tall matrix still moves some rows, each of which is a unit of a gate,
far more than others, so each is divided by the root of its running mean square: Li et al. (2025), NorMuon: making Muon more
efficient and scalable.

`torch.optim.Muon` always multiplies in bf16, which is dozens of times slower on a CPU that does not support it. Its constructor
loads torch's compiler, which takes seconds, and its step cannot be divided among workers.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from charnn.training.optim.gradient import Gradient
from charnn.training.parallel.shared_memory import Allocate
from charnn.training.parallel.workers import Task

NEWTON_SCHULZ_STEPS = 3
"""Iterations; two more would gain too little for their time."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The a, b, c of X <- a X + b X X'X + c X (X'X)^2, chosen by Jordan et al. to increase small singular values quickly."""
ROW_BETA, EPSILON = 0.95, 1e-8
"""The decay factor per update of the mean squares of rows, and what is added to their roots."""
ADAMW_LENGTH = 0.2
"""The typical root mean square of the entries of an AdamW update."""


class Muon:
    """Muon with Nesterov momentum, normalized rows and decoupled weight decay; see `optimizers.Optimizer`.

    Args:
        parameters: matrices.
        weight_decay: per update, scaled by the learning rate.
        momentum: decay factor per update.
        steps_per_update: steps whose gradients are accumulated in the momentum before each update: with small batches, an
            update takes longer than a gradient.
        dtype: of the matrix products; bf16 if the processor supports it.
        zeros_like: allocates the momenta.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        weight_decay: float,
        momentum: float = 0.95,
        steps_per_update: int = 1,
        dtype: torch.dtype = torch.bfloat16,
        zeros_like: Allocate = torch.zeros_like,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate = 0.0
        self.steps_per_update = steps_per_update
        self.weight_decay = weight_decay
        self._dtype = dtype
        self._momenta = [zeros_like(parameter) for parameter in self.parameters]
        self._row_squares = [zeros_like(parameter[:, 0]) for parameter in self.parameters]
        self._steps = [torch.zeros(()) for _ in self.parameters]
        self.set_momentum(momentum)

    def set_momentum(self, momentum: float) -> None:
        """Set the decay factor per update; the factor per step is its root."""
        self.momentum_per_step = float(momentum ** (1 / self.steps_per_update))

    def state(self, index: int) -> dict[str, Tensor]:
        """Return the momentum, the mean squares of the rows of updates, and the step counter of a parameter."""
        return {
            "momentum_buffer": self._momenta[index],
            "row_squares": self._row_squares[index],
            "step": self._steps[index],
        }

    def updates(self, gradients: Sequence[Gradient | None], scale: Tensor) -> list[list[Task[None]]]:
        """Return a task for each matrix, which adds its gradient to the momentum and, if an update is due, updates it."""
        tasks: list[list[Task[None]]] = []
        for index, (weight, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            if gradient is None:
                tasks.append([])
                continue
            self._steps[index] += 1
            is_due = int(self._steps[index]) % self.steps_per_update == 0
            tasks.append([partial(self._update, index, weight.detach(), gradient.values, scale, is_due=is_due)])
        return tasks

    @torch.no_grad()
    def _update(self, index: int, weight: Tensor, gradient: Tensor, scale: Tensor, *, is_due: bool) -> None:
        momentum = self._momenta[index]
        gradient.mul_(scale)
        momentum.lerp_(gradient, 1 - self.momentum_per_step)
        if not is_due:
            return
        update = orthogonalized(gradient.lerp(momentum, self.momentum_per_step).to(self._dtype)[None])[0]
        update = update.to(weight.dtype)
        length = ADAMW_LENGTH * math.sqrt(max(weight.shape))
        factors = self._row_factors(update, self._row_squares[index])
        weight.mul_(1 - self.learning_rate * self.weight_decay)
        weight.addcmul_(update, factors, value=-self.learning_rate * length)

    def _row_factors(self, update: Tensor, squares: Tensor) -> Tensor:
        """Return what the rows of an update (M, N) are multiplied by (M, 1), so that its norm remains."""
        norms = torch.linalg.vector_norm(update, dim=1)
        squares.lerp_(norms.square() / update.shape[1], 1 - ROW_BETA)
        factors = 1 / (squares.sqrt() + EPSILON)  # without bias correction, which would not change their ratios
        new_norm = torch.linalg.vector_norm(norms * factors)
        factors *= torch.linalg.vector_norm(norms) / new_norm.clamp(min=EPSILON)
        return factors[:, None]


def orthogonalized(matrices_KMN: Tensor) -> Tensor:
    """Return approximately the nearest matrices with orthonormal rows or columns, by Newton-Schulz iteration.

    Every iterate is the matrix times a polynomial in its Gram matrix, whose size is the smaller dimension. The iteration
    computes that polynomial, so only two products involve the larger dimension.

    Args:
        matrices_KMN: K matrices of size M x N.
    """
    a, b, c = COEFFICIENTS
    matrices: Tensor = matrices_KMN / matrices_KMN.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    is_tall = matrices.shape[1] > matrices.shape[2]
    gram = matrices.mT @ matrices if is_tall else matrices @ matrices.mT
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    polynomial = identity
    for iteration in range(1, NEWTON_SCHULZ_STEPS + 1):
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial = (
            torch.add(step, identity, alpha=a)
            if iteration == 1
            else torch.baddbmm(polynomial, step, polynomial, beta=a)
        )
        if iteration < NEWTON_SCHULZ_STEPS:
            half = torch.baddbmm(gram, gram, step, beta=a)
            gram = torch.baddbmm(half, step, half, beta=a)
    product: Tensor = matrices @ polynomial if is_tall else polynomial @ matrices
    return product
