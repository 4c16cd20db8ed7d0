"""The loss over a large vocabulary, a few positions at a time, so that the logits of a batch are never in memory together.

The gradients are computed with the loss, in the forward pass; the backward pass multiplies them by that of the objective.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charnn.training.loss import IGNORED
from charnn.training.network.layers import in_autocast_type

MAX_LOGITS = {"cpu": 1 << 21, "cuda": 1 << 28}
"""Maximum number of logits at a time (on a CPU 8 MiB, which its caches hold in part); fewer in all are computed at once."""


def is_chunked(num_positions: int, vocab_size: int, device: str) -> bool:
    """Return whether the loss is computed in several chunks."""
    return num_positions * vocab_size > MAX_LOGITS[device]


def chunked_losses(
    outputs_TBH: Tensor, weight: Tensor, bias: Tensor, targets_TB: Tensor, *, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy of the targets (detached) and the smoothed one, in nats and in fp32, without padding.

    Args:
        outputs_TBH: input of the output layer.
        weight, bias: of the output layer, (V, H) and (V,).
        targets_TB: token ids, `IGNORED` at padding.
        label_smoothing: probability mass that is spread uniformly over all tokens.
    """
    loss, objective = _ChunkedLosses.apply(  # type: ignore[no-untyped-call]
        outputs_TBH.flatten(0, 1), weight, bias, targets_TB.flatten(), label_smoothing
    )
    return loss, objective


class _ChunkedLosses(torch.autograd.Function):
    """The two losses of N positions; the first one has no gradient."""

    @staticmethod
    def forward(
        ctx: Any, outputs_NH: Tensor, weight: Tensor, bias: Tensor, targets_N: Tensor, label_smoothing: float
    ) -> tuple[Tensor, Tensor]:
        vocab_size = len(weight)
        losses = torch.zeros(2, device=weight.device)
        of_outputs = torch.empty_like(outputs_NH)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        used_weight, used_bias = in_autocast_type(weight), in_autocast_type(bias)
        size = max(1, MAX_LOGITS[weight.device.type] // vocab_size)
        for first in range(0, len(targets_N), size):
            outputs, targets = outputs_NH[first : first + size], targets_N[first : first + size]
            is_target = targets != IGNORED
            known = targets.clamp(min=0)[:, None]
            log_probs = torch.log_softmax(torch.nn.functional.linear(outputs, used_weight, used_bias).float(), dim=-1)
            found = torch.where(is_target, log_probs.gather(1, known)[:, 0], 0.0).sum()
            losses[0] -= found
            if label_smoothing:
                uniform = torch.where(is_target, log_probs.mean(dim=-1), 0.0).sum()
                losses[1] -= (1 - label_smoothing) * found + label_smoothing * uniform
            of_logits = log_probs.exp_()
            if label_smoothing:
                of_logits.sub_(label_smoothing / vocab_size)
            of_logits.scatter_add_(1, known, torch.full_like(known, label_smoothing - 1, dtype=of_logits.dtype))
            of_logits[~is_target] = 0.0
            of_bias += of_logits.sum(dim=0)
            of_logits = of_logits.to(outputs.dtype)
            of_outputs[first : first + size] = of_logits @ used_weight.to(outputs.dtype)
            if of_logits.dtype == of_weight.dtype:
                of_weight.addmm_(of_logits.T, outputs)  # without another matrix of that size
            else:
                of_weight += of_logits.T @ outputs
        if not label_smoothing:
            losses[1] = losses[0]
        ctx.save_for_backward(of_outputs, of_weight, of_bias)
        loss, objective = losses.unbind()
        ctx.mark_non_differentiable(loss)
        return loss, objective

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, of_objective: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (
            gradient.mul_(of_objective.to(gradient.dtype)) if is_needed else None
            for gradient, is_needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        )
        return (*gradients, None, None)
