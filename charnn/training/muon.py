"""Muon: momentum whose update is made orthogonal, with the products that this takes done on the small side of the matrix.

Source: Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks; the scale follows Liu et al. (2025), so
that an update is as long as AdamW's.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

NEWTON_SCHULZ_STEPS = 3
"""Iterations; two more gain too little for the time that they take."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Those of X <- a X + b X X'X + c X (X'X)^2, chosen by Jordan et al. to blow small singular values up quickly."""
ADAMW_LENGTH = 0.2
"""The root mean square of an entry of AdamW's update, by experience."""


class Muon(Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    Args:
        params: matrices.
        lr: learning rate, set anew before each step.
        weight_decay: decay a step and unit of learning rate.
        momentum: share of the last momentum in the next.
        dtype: in which the products are done: bf16 where the processor has units for it.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float = 1e-3,
        weight_decay: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move each matrix that has a gradient."""
        assert closure is None, "Muon reads the gradients as they are"
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                average = state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
                update = orthogonalised(weight.grad.lerp(average, momentum).to(self._dtype))
                length = ADAMW_LENGTH * math.sqrt(max(weight.shape))
                weight.mul_(1 - rate * group["weight_decay"]).add_(update.to(weight.dtype), alpha=-rate * length)


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return about the nearest matrix with orthonormal rows or columns, by Newton-Schulz iteration.

    Every iterate is the matrix times a polynomial in its Gram matrix, which has the smaller side's size: the iteration is
    done on that polynomial, and the long matrix enters twice only.

    Args:
        matrix: (M, N).
    """
    a, b, c = COEFFICIENTS
    matrix = matrix / matrix.norm().clamp(min=1e-7)
    is_tall = matrix.shape[0] > matrix.shape[1]
    gram = matrix.T @ matrix if is_tall else matrix @ matrix.T
    polynomial = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for number in range(1, NEWTON_SCHULZ_STEPS + 1):
        step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial = torch.addmm(polynomial, step, polynomial, beta=a)
        if number < NEWTON_SCHULZ_STEPS:
            half = torch.addmm(gram, gram, step, beta=a)
            gram = torch.addmm(half, step, half, beta=a)
    return matrix @ polynomial if is_tall else polynomial @ matrix
