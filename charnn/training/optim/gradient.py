"""The gradient of a parameter, as an optimizer receives it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Gradient(NamedTuple):
    """The sum of the gradients of all groups of lanes.

    Args:
        values: of the shape of the parameter; rows of a table that were not looked up are zero.
        looked_up: of an embedding table, the rows that each group looked up; empty for other parameters, and where that is not
            known.
    """

    values: Tensor
    looked_up: Sequence[Tensor] = ()

    def rows(self) -> Tensor:
        """Return the rows that may differ from zero, in order (N,)."""
        if not self.looked_up:
            return self.values.any(dim=1).nonzero()[:, 0]
        rows: Tensor = torch.unique(torch.cat([*self.looked_up]))
        return rows
