"""The recurrence h' = a * h + b over many tokens at once, and its gradient."""

import math
from typing import Any

import torch
from torch import Tensor

SMALL_STEP, LONG = 1024, 512
"""Numbers in a state, and tokens, with which chunks side by side are quicker on a processor."""


def sequential_scan(kept_TBH: Tensor, new_TBH: Tensor, first_BH: Tensor) -> Tensor:
    """Return h_1 ... h_T (T, B, H) for h_t = a_t * h_{t-1} + b_t, one step after the other.

    Args:
        kept_TBH: a.
        new_TBH: b.
        first_BH: h_0.
    """
    outputs_TBH = torch.empty_like(new_TBH)
    state_BH = first_BH
    for kept_BH, new_BH, output_BH in zip(kept_TBH, new_TBH, outputs_TBH, strict=True):
        state_BH = torch.addcmul(new_BH, kept_BH, state_BH, out=output_BH)
    return outputs_TBH


def parallel_scan(kept_TBH: Tensor, new_TBH: Tensor, first_BH: Tensor) -> Tensor:
    """Return what `sequential_scan` does, in about 2 sqrt(T) steps, each over sqrt(T) chunks of time side by side.

    Every chunk is read from an empty state together with the product of its a's; then the state at each chunk's end is known
    from that of the chunk before it, and what it leaves in the next chunk is added. All factors are at most 1, so unlike in
    log space nothing cancels or overflows: in fp32 it is as exact as one step after the other.
    """
    length = len(new_TBH)
    chunk = max(1, math.isqrt(length))
    num_chunks = -(-length // chunk)
    padding = num_chunks * chunk - length
    kept, new = (
        torch.nn.functional.pad(part, (0, 0, 0, 0, 0, padding)).reshape(num_chunks, chunk, *part.shape[1:])
        for part in (kept_TBH, new_TBH)
    )
    states, products = torch.empty_like(new), torch.empty_like(kept)
    states[:, 0], products[:, 0] = new[:, 0], kept[:, 0]
    for place in range(1, chunk):
        torch.addcmul(new[:, place], kept[:, place], states[:, place - 1], out=states[:, place])
        torch.mul(kept[:, place], products[:, place - 1], out=products[:, place])
    entering = torch.empty_like(states[:, 0])
    state_BH = first_BH
    for number in range(num_chunks):
        entering[number] = state_BH
        state_BH = torch.addcmul(states[number, -1], products[number, -1], state_BH)
    return states.addcmul_(products, entering[:, None]).flatten(0, 1)[:length]


class _LinearRecurrence(torch.autograd.Function):
    """A scan whose gradient is a scan over the same factors from the end: g_t = dh_t + a_{t+1} * g_{t+1}."""

    @staticmethod
    def forward(ctx: Any, kept_TBH: Tensor, new_TBH: Tensor, first_BH: Tensor) -> Tensor:
        outputs_TBH = _scan(kept_TBH, new_TBH, first_BH)
        ctx.save_for_backward(kept_TBH, outputs_TBH, first_BH)
        return outputs_TBH

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient_TBH,) = gradients
        kept_TBH, outputs_TBH, first_BH = ctx.saved_tensors
        later = torch.cat((kept_TBH[1:], torch.zeros_like(kept_TBH[:1]))).flip(0)
        total_TBH = _scan(later, gradient_TBH.flip(0), torch.zeros_like(first_BH)).flip(0)
        before_TBH = torch.cat((first_BH[None], outputs_TBH[:-1]))
        return total_TBH * before_TBH, total_TBH, total_TBH[0] * kept_TBH[0]


def _scan(kept_TBH: Tensor, new_TBH: Tensor, first_BH: Tensor) -> Tensor:
    """Take the way that is the quicker one: on a processor, steps that are not small keep it busy one after the other."""
    is_small = first_BH.numel() <= SMALL_STEP and len(new_TBH) >= LONG
    scan = parallel_scan if is_small or new_TBH.device.type == "cuda" else sequential_scan
    return scan(kept_TBH.contiguous(), new_TBH.contiguous(), first_BH)


def linear_recurrence(kept_TBH: Tensor, new_TBH: Tensor, first_BH: Tensor) -> Tensor:
    """Return h_1 ... h_T (T, B, H) for h_t = a_t * h_{t-1} + b_t, with gradients in a, b and h_0.

    Source: Martin and Cundy (2018), Parallelizing linear recurrent neural nets over sequence length.
    """
    found: Tensor = _LinearRecurrence.apply(kept_TBH, new_TBH, first_BH)  # type: ignore[no-untyped-call]
    return found
