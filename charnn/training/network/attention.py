"""Attention over the past in torch: the equations of `charnn.cells.attention` as few operations, for training."""

import functools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from charnn.cells.attention import BLOCK, NORM_EPSILON, attention_shapes, band, memory_shapes
from charnn.config import Architecture
from charnn.training.network.dropout import PositionDropout
from charnn.training.network.layers import LayerState


class Attention(nn.Module):
    """One head over the earlier outputs of the top recurrent layer; see `charnn.cells.attention`.

    Args:
        architecture: of the network, with attention.
        dropout: probability, in training, of dropping a position from the memory, and all that a position attends to.
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        self._memory_shapes = functools.partial(memory_shapes, architecture)
        self.weights = nn.ParameterDict(
            {
                name.removeprefix("attention."): torch.empty(size)
                for name, size in attention_shapes(architecture).items()
            }
        )
        self.dropout = PositionDropout(dropout)
        self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        """Initialize each projection after Glorot and Bengio (2010) and the output with zeros: nothing is added at first."""
        for name, weight in self.weights.items():
            if name == "norm_weight":
                weight.fill_(1)
            elif name == "weight":
                for block in weight.chunk(4):
                    nn.init.xavier_uniform_(block)
            else:
                weight.zero_()

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters by name (see `attention_shapes`)."""
        return {f"attention.{name}": cast(nn.Parameter, weight) for name, weight in self.weights.items()}

    def initial_state(self, num_streams: int) -> LayerState:
        """Return the memory of B streams with nothing in it."""
        like = self.weights["weight"]
        return tuple(like.new_zeros(shape) for shape in self._memory_shapes(num_streams))

    def forward(
        self, outputs_TBH: Tensor, state: LayerState, generator: torch.Generator | None = None
    ) -> tuple[Tensor, LayerState]:
        """Add to the outputs of the top layer what they attend to.

        Args:
            outputs_TBH: of the top recurrent layer.
            state: the memory (see `charnn.cells.attention.Attended`).
            generator: source of the dropout mask; None, as in evaluation, disables dropout.

        Returns:
            The outputs (T, B, H), and the memory after the last of the T tokens.
        """
        weights = self.weights
        normed = functional.layer_norm(
            outputs_TBH, outputs_TBH.shape[-1:], weights["norm_weight"], weights["norm_bias"], NORM_EPSILON
        )
        projected_BTP = functional.linear(normed.transpose(0, 1), weights["weight"], weights["bias"])
        head = projected_BTP.shape[-1] // 4
        query, key, value, gate = torch.split(projected_BTP, head, dim=-1)
        keys = torch.cat((state[2].to(key.dtype)[:, None], key), dim=1)
        memory_BJM = torch.cat((state[0].to(key.dtype), torch.cat((keys[:, :-1], value), dim=-1)), dim=1)
        values_BJD = self.dropout(memory_BJM[..., head:].transpose(0, 1), generator).transpose(0, 1)
        past, length = state[0].shape[1], key.shape[1]
        is_full = bool(state[1].all())
        is_filled_BJ = torch.cat((state[1], state[1].new_ones(len(key), length)), dim=1)
        mixed = []
        for first in range(0, length, BLOCK):
            last = min(first + BLOCK, length)
            seen = slice(first, last + past)
            bias = _bias(last - first, past, key.dtype, key.device)
            if not is_full:
                unseen = is_filled_BJ[:, None, seen] == 0
                bias = bias.masked_fill(unseen, -torch.inf)
            keys_BDJ = memory_BJM[:, seen, :head].transpose(1, 2)
            scores = torch.baddbmm(bias, query[:, first:last], keys_BDJ, alpha=head**-0.5)
            mixed.append(torch.bmm(scores.softmax(dim=-1).to(key.dtype), values_BJD[:, seen]))
        gated_BTD = gate.sigmoid() * (torch.cat(mixed, dim=1) if len(mixed) > 1 else mixed[0])
        gated = self.dropout(gated_BTD.transpose(0, 1), generator)
        added = functional.linear(gated, weights["output"])
        filled = is_filled_BJ[:, length:].contiguous()
        return outputs_TBH + added, (memory_BJM[:, length:].contiguous(), filled, keys[:, -1])


@functools.lru_cache(maxsize=8)
def _bias(length: int, past: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what is added to scores (1, T, P + T): nothing within the window of each position, minus infinity outside."""
    bias = torch.zeros(length, past + length, device=device)
    return bias.masked_fill_(~band(bias, past, torch), -torch.inf).to(dtype)[None]
