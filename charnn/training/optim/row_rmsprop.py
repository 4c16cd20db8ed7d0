"""RMSProp by rows, for embedding tables of which a step looks up few rows.

A row has one second moment for all its numbers, and no momentum, and only rows that were looked up are updated. So the state of
a table is as good as nothing, and an update takes as long for a large table as for a small one.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from charnn.training.optim.gradient import Gradient
from charnn.training.parallel.shared_memory import Allocate
from charnn.training.parallel.workers import Task


class RowRMSProp:
    """RMSProp with a second moment for each row, bias correction, warm-up and decoupled weight decay; see `Optimizer`.

    For the gradient g of a row in the n-th step that looks it up: v = β v + (1 - β) mean(g²),
    w = (1 - η λ) w - η r n / (n + k) g / √(v / (1 - βⁿ)).

    The warm-up n / (n + k) of each row keeps those that are rare from learning the few places by heart where they occur.

    Args:
        parameters: tables (R, E).
        weight_decay: λ, per update of a row.
        relative_rate: r.
        warm_up: k, in steps.
        zeros_like: allocates the moments.

    Source: Tieleman and Hinton (2012), Lecture 6.5: RMSProp; one moment a row as in Gupta et al. (2014), Training highly
    multiclass classifiers, section 3.
    """

    BETA = 0.99
    EPSILON = 1e-8

    def __init__(
        self,
        parameters: Sequence[Tensor],
        *,
        weight_decay: float,
        relative_rate: float,
        warm_up: float = 0.0,
        zeros_like: Allocate = torch.zeros_like,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate = 0.0
        self._decay = weight_decay
        self._relative_rate, self._warm_up = relative_rate, warm_up
        self._squares = [zeros_like(parameter[:, 0]) for parameter in self.parameters]
        self._counts = [zeros_like(parameter[:, 0]) for parameter in self.parameters]

    def updates(self, gradients: Sequence[Gradient | None], scale: Tensor) -> list[list[Task[None]]]:
        """See `Optimizer`; there is a task for each table."""
        return [
            [] if gradient is None else [partial(self._update, index, gradient, scale)]
            for index, gradient in enumerate(gradients)
        ]

    @torch.no_grad()
    def _update(self, index: int, gradient: Gradient, scale: Tensor) -> None:
        weight, squares, counts = self.parameters[index].detach(), self._squares[index], self._counts[index]
        rows = gradient.rows()
        values = gradient.values.index_select(0, rows).mul_(scale)  # several times as fast as by brackets
        new_counts = counts.index_select(0, rows) + 1
        mean_square = torch.linalg.vector_norm(values, dim=1).square_() / values.shape[1]
        new_squares = squares.index_select(0, rows).lerp_(mean_square, 1 - self.BETA)
        length = (new_squares / (1 - self.BETA**new_counts)).sqrt_().add_(self.EPSILON)
        decayed = weight.index_select(0, rows).mul_(1 - self.learning_rate * self._decay)
        length *= 1 + self._warm_up / new_counts
        decayed.addcdiv_(values, length[:, None], value=-self.learning_rate * self._relative_rate)
        weight.index_copy_(0, rows, decayed)
        counts.index_copy_(0, rows, new_counts)
        squares.index_copy_(0, rows, new_squares)

    def set_momentum(self, momentum: float) -> None:
        """Do nothing: there is no momentum."""

    def state(self, index: int) -> dict[str, Tensor]:
        """See `Optimizer`; both have a number for each row."""
        return {"exp_avg_sq": self._squares[index], "counts": self._counts[index]}
