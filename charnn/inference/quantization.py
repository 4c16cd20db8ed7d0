"""Quantized matrices, multiplied by torch: half or a quarter of the memory is read.

Activations are rounded to bf16 for the product, its results come back in single precision, and all else stays as it is.
"""

import numpy as np
import torch
from torch.nn.functional import pad

from charnn.inference.input_projection import Floats, Multiply

LARGEST_INT8 = 127
INT8_MULTIPLE = 64
"""torch's product with weights of int8 reads past the end of matrices of other sizes than its kernels' blocks."""


def in_bf16(matrix_GI: Floats) -> Multiply:
    """Return a matrix's product with 8 bits of each number's mantissa."""
    half = torch.from_numpy(matrix_GI).bfloat16()

    @torch.inference_mode()
    def multiply(columns_IB: Floats, results_GB: Floats) -> None:
        torch.from_numpy(results_GB).copy_(torch.mm(half, torch.from_numpy(columns_IB).bfloat16()))

    return multiply


def in_int8(matrix_GI: Floats) -> Multiply:
    """Return a matrix's product with each row as numbers from -127 to 127 and a scale."""
    matrix = torch.from_numpy(matrix_GI)
    num_rows, num_columns = matrix.shape
    missing_columns, missing_rows = -num_columns % INT8_MULTIPLE, -num_rows % INT8_MULTIPLE
    scales = matrix.abs().amax(dim=1).clamp(min=1e-12) / LARGEST_INT8
    whole = (matrix / scales[:, None]).round().to(torch.int8)
    whole = pad(whole, (0, missing_columns, 0, missing_rows)).contiguous()
    ones = torch.ones(len(whole), dtype=torch.bfloat16)
    scales_G1 = scales.numpy()[:, None].copy()

    @torch.inference_mode()
    def multiply(columns_IB: Floats, results_GB: Floats) -> None:
        rows = torch.from_numpy(columns_IB).T.bfloat16().contiguous()
        if missing_columns:
            rows = pad(rows, (0, missing_columns))
        product_BG = torch._weight_int8pack_mm(rows, whole, ones)
        torch.from_numpy(results_GB).copy_(product_BG[:, :num_rows].T)
        np.multiply(results_GB, scales_G1, results_GB)

    return multiply
