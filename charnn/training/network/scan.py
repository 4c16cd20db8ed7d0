"""The linear recurrence h_t = a_t * h_{t-1} + b_t as a scan, and its gradient."""

import math
from typing import Any

import torch
from torch import Tensor

MAX_PARALLEL_STATE, MIN_PARALLEL_LENGTH = 1024, 512
"""On a CPU the parallel scan is faster for at most this many elements in a state and at least this many time steps."""


def sequential_scan(decays_TBH: Tensor, inputs_TBH: Tensor, initial_BH: Tensor) -> Tensor:
    """Return h_1 ... h_T (T, B, H) for h_t = a_t * h_{t-1} + b_t, step by step.

    Args:
        decays_TBH: a, in [0, 1].
        inputs_TBH: b.
        initial_BH: h_0.
    """
    outputs_TBH = torch.empty_like(inputs_TBH)
    state_BH = initial_BH
    for decay_BH, input_BH, output_BH in zip(decays_TBH, inputs_TBH, outputs_TBH, strict=True):
        state_BH = torch.addcmul(input_BH, decay_BH, state_BH, out=output_BH)
    return outputs_TBH


def parallel_scan(decays_TBH: Tensor, inputs_TBH: Tensor, initial_BH: Tensor) -> Tensor:
    """Compute `sequential_scan` in about 2 sqrt(T) steps, each over sqrt(T) chunks of time in parallel.

    Every chunk is scanned from a zero state, together with the cumulative product of its a's. The final states are then
    propagated from chunk to chunk, and their decayed contribution is added within each. All factors are at most 1, so unlike in
    log space nothing cancels or overflows: in fp32 it is as accurate as the sequential scan.
    """
    length = len(inputs_TBH)
    chunk = max(1, math.isqrt(length))
    num_chunks = -(-length // chunk)
    padding = num_chunks * chunk - length
    decays, inputs = (
        torch.nn.functional.pad(part, (0, 0, 0, 0, 0, padding)).reshape(num_chunks, chunk, *part.shape[1:])
        for part in (decays_TBH, inputs_TBH)
    )
    states, products = torch.empty_like(inputs), torch.empty_like(decays)
    states[:, 0], products[:, 0] = inputs[:, 0], decays[:, 0]
    for offset in range(1, chunk):
        torch.addcmul(inputs[:, offset], decays[:, offset], states[:, offset - 1], out=states[:, offset])
        torch.mul(decays[:, offset], products[:, offset - 1], out=products[:, offset])
    entering = torch.empty_like(states[:, 0])
    state_BH = initial_BH
    for index in range(num_chunks):
        entering[index] = state_BH
        state_BH = torch.addcmul(states[index, -1], products[index, -1], state_BH)
    return states.addcmul_(products, entering[:, None]).flatten(0, 1)[:length]


class _LinearRecurrence(torch.autograd.Function):
    """A scan whose gradient is a scan in reverse time: g_t = dh_t + a_{t+1} * g_{t+1}."""

    @staticmethod
    def forward(ctx: Any, decays_TBH: Tensor, inputs_TBH: Tensor, initial_BH: Tensor) -> Tensor:
        outputs_TBH = _scan(decays_TBH, inputs_TBH, initial_BH)
        ctx.save_for_backward(decays_TBH, outputs_TBH, initial_BH)
        return outputs_TBH

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient_TBH,) = gradients
        decays_TBH, outputs_TBH, initial_BH = ctx.saved_tensors
        later_decays_TBH = torch.cat((decays_TBH[1:], torch.zeros_like(decays_TBH[:1]))).flip(0)
        total_TBH = _scan(later_decays_TBH, gradient_TBH.flip(0), torch.zeros_like(initial_BH)).flip(0)
        previous_TBH = torch.cat((initial_BH[None], outputs_TBH[:-1]))
        return total_TBH * previous_TBH, total_TBH, total_TBH[0] * decays_TBH[0]


def _scan(decays_TBH: Tensor, inputs_TBH: Tensor, initial_BH: Tensor) -> Tensor:
    """Run the faster scan: in parallel on a GPU, and on a CPU only for long sequences of small states."""
    is_faster_in_parallel = initial_BH.numel() <= MAX_PARALLEL_STATE and len(inputs_TBH) >= MIN_PARALLEL_LENGTH
    scan = parallel_scan if is_faster_in_parallel or inputs_TBH.device.type == "cuda" else sequential_scan
    return scan(decays_TBH.contiguous(), inputs_TBH.contiguous(), initial_BH)


def linear_recurrence(decays_TBH: Tensor, inputs_TBH: Tensor, initial_BH: Tensor) -> Tensor:
    """Return h_1 ... h_T (T, B, H) for h_t = a_t * h_{t-1} + b_t, with gradients in a, b and h_0.

    Source: Martin and Cundy (2018), Parallelizing linear recurrent neural nets over sequence length.
    """
    outputs_TBH: Tensor = _LinearRecurrence.apply(decays_TBH, inputs_TBH, initial_BH)  # type: ignore[no-untyped-call]
    return outputs_TBH
