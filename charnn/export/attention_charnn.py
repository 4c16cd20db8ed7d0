"""Attention over the past in a language model trained by charnn: one head over the earlier outputs of the top layer.

With h_t the output of the top recurrent layer,

    m_t = LayerNorm(h_t);  q_t, k_t, v_t, g_t = W m_t + b        each of size D
    a_tj = softmax_j(q_t k_{j-1} / sqrt(D))                      over the last `attention_window` positions j <= t
    h'_t = h_t + U (sigmoid(g_t) * sum_j a_tj v_j)

The key of a position is that of the output before it, of zeros at the beginning of a text. The memory, part of the state, holds
the keys and values of the last P = attention_window - 1 positions (B, P, 2 D), which of them are filled (B, P), and the key of
the next position (B, D).

Source: Merity (2019), Single headed attention RNN.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .configuration_charnn import CharnnConfig

Memory = tuple[Tensor, Tensor, Tensor]

NORM_EPSILON = 1e-5
BLOCK = 128
"""Positions whose scores are computed together."""


class CharnnAttention(nn.Module):
    """Attention, whose parameters are named as in charnn's own files."""

    num_states = 3

    def __init__(self, config: CharnnConfig) -> None:
        super().__init__()
        _, size = config.layer_sizes(config.num_layers - 1)
        self.num_past, self.head_size = config.attention_window - 1, config.attention_size
        self.norm_weight = nn.Parameter(torch.ones(size))
        self.norm_bias = nn.Parameter(torch.zeros(size))
        self.weight = nn.Parameter(torch.empty(4 * self.head_size, size))
        self.bias = nn.Parameter(torch.zeros(4 * self.head_size))
        self.output = nn.Parameter(torch.zeros(size, self.head_size))

    def initial_state(self, batch_size: int) -> Memory:
        """Return a memory with nothing in it."""
        past, head, zeros = self.num_past, self.head_size, self.weight.new_zeros
        return zeros(batch_size, past, 2 * head), zeros(batch_size, past), zeros(batch_size, head)

    def forward(self, outputs_BTH: Tensor, memory: Memory, is_read_BT: Tensor | None) -> tuple[Tensor, Memory]:
        """Add to the outputs of the top layer what they attend to.

        Tokens that are not read leave the memory as it is and are not attended to. To such an output is added what was added
        to the last before it that was read; nothing, where there is none among these.

        Returns:
            The outputs, and the memory after the last token.
        """
        normed = functional.layer_norm(
            outputs_BTH, outputs_BTH.shape[-1:], self.norm_weight, self.norm_bias, NORM_EPSILON
        )
        projected_BTP = functional.linear(normed, self.weight, self.bias)
        if is_read_BT is None:
            gated_BTD, memory = self._attend(projected_BTP, memory, None)
            return outputs_BTH + functional.linear(gated_BTD, self.output), memory
        order_BT = torch.sort(~is_read_BT, dim=1, stable=True).indices  # those that are read first
        num_read_BT = is_read_BT.cumsum(1)
        gated_BTD, memory = self._attend(_rows(projected_BTP, order_BT), memory, num_read_BT[:, -1])
        gated_BTD = _rows(gated_BTD, (num_read_BT - 1).clamp(min=0)) * (num_read_BT > 0)[..., None]
        return outputs_BTH + functional.linear(gated_BTD, self.output), memory

    def _attend(self, projected_BTP: Tensor, memory: Memory, num_read_B: Tensor | None) -> tuple[Tensor, Memory]:
        """Return what each position attends to, gated (B, T, D), and the memory after the first positions.

        Args:
            num_read_B: how many positions of each text those are; None for all.
        """
        past, head, length = self.num_past, self.head_size, projected_BTP.shape[1]
        query, key, value, gate = projected_BTP.chunk(4, -1)
        keys = torch.cat((memory[2][:, None], key), 1)
        memory_BJM = torch.cat((memory[0], torch.cat((keys[:, :-1], value), -1)), 1)
        is_filled_BJ = torch.cat((memory[1], memory[1].new_ones(len(key), length)), 1)
        mixed = []
        for first in range(0, length, BLOCK):
            last = min(first + BLOCK, length)
            seen = slice(first, last + past)
            scores = query[:, first:last] @ memory_BJM[:, seen, :head].transpose(1, 2) * head**-0.5
            is_seen = _band(last - first, past, scores.device) & (is_filled_BJ[:, None, seen] > 0)
            weights = scores.masked_fill(~is_seen, -torch.inf).softmax(-1)
            mixed.append(weights @ memory_BJM[:, seen, head:])
        gated_BTD = gate.sigmoid() * torch.cat(mixed, 1)
        if num_read_B is None:
            return gated_BTD, (memory_BJM[:, length:], is_filled_BJ[:, length:], keys[:, -1])
        kept_BP = num_read_B[:, None] + torch.arange(past, device=num_read_B.device)
        next_key = _rows(keys, num_read_B[:, None])[:, 0]
        return gated_BTD, (_rows(memory_BJM, kept_BP), is_filled_BJ.gather(1, kept_BP), next_key)


def _rows(values_BTD: Tensor, indices_BN: Tensor) -> Tensor:
    """Return some positions of each text (B, N, D)."""
    return values_BTD.gather(1, indices_BN[..., None].expand(-1, -1, values_BTD.shape[-1]))


def _band(length: int, past: int, device: torch.device) -> Tensor:
    """Return where a position of a block sees one of the P before the block and its own (T, P + T): itself and P before it."""
    offsets = torch.arange(past + length, device=device) - torch.arange(length, device=device)[:, None]
    return (offsets >= 0) & (offsets <= past)
