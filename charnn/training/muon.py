"""Muon: momentum whose update is made orthogonal, with the products that this takes done on the small side of the matrix.

Source: Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks; the scale follows Liu et al. (2025), so
that an update is as long as AdamW's.
"""

import math
from collections import defaultdict
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
        weight_decay: decay a move and unit of learning rate.
        momentum: share of the last momentum in the next move's.
        every: steps that a move takes, whose gradients all enter the momentum: where steps are short, the products of one
            move would take longer than the gradient.
        dtype: in which the products are done: bf16 where the processor has units for it.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float = 1e-3,
        weight_decay: float,
        momentum: float = 0.95,
        every: int = 1,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self._every = every
        self._dtype = dtype
        momentum = self.momentum_a_step(momentum)
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    def momentum_a_step(self, momentum_a_move: float) -> float:
        """Return the share of the momentum that a step keeps, so that a move keeps the one given."""
        return float(momentum_a_move ** (1 / self._every))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take in each gradient there is, and move the matrices whose turn it is, those of one shape together."""
        assert closure is None, "Muon reads the gradients as they are"
        for group in self.param_groups:
            alike = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None and self._takes_in(weight, group["momentum"]):
                    alike[weight.shape].append(weight)
            for shape, weights in alike.items():
                length = ADAMW_LENGTH * math.sqrt(max(shape))
                for weight, update in zip(weights, self._updates(weights, group["momentum"]), strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update.to(weight.dtype), alpha=-group["lr"] * length)

    def _takes_in(self, weight: Tensor, momentum: float) -> bool:
        """Add a matrix's gradient to its momentum; tell whether it is to move now."""
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        if "step" not in state:  # so it is too in a run that an older charnn began
            state["step"] = torch.zeros(())
        state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
        state["step"] += 1
        return int(state["step"]) % self._every == 0

    def _updates(self, weights: list[Tensor], momentum: float) -> Tensor:
        """Return the orthogonal updates (K, M, N) of K matrices, with a step of Nesterov's."""
        gradients = torch.stack([weight.grad for weight in weights if weight.grad is not None])
        averages = torch.stack([self.state[weight]["momentum_buffer"] for weight in weights])
        return orthogonalised(gradients.lerp(averages, momentum).to(self._dtype))


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
    polynomial = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    for number in range(1, NEWTON_SCHULZ_STEPS + 1):
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial = torch.baddbmm(polynomial, step, polynomial, beta=a)
        if number < NEWTON_SCHULZ_STEPS:
            half = torch.baddbmm(gram, gram, step, beta=a)
            gram = torch.baddbmm(half, step, half, beta=a)
    product: Tensor = matrices @ polynomial if is_tall else polynomial @ matrices
    return product
