"""The weights of a page: rows of int8 with a scale each, or numbers in single precision, in one buffer."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from charnn.files import JsonObject
from charnn.storage.tensor_file import Tensors

HtmlWeights = Literal["int8", "fp32"]
LARGEST_INT8 = 127


def packed(tensors: Tensors, weights: HtmlWeights) -> tuple[list[JsonObject], bytes]:
    """Return where each tensor is, and all of them in one buffer: first numbers in single precision, then those of int8.

    See `readTensors` in page/network.js.
    """
    singles: list[npt.NDArray[np.float32]] = []
    bytes_: list[npt.NDArray[np.int8]] = []
    entries: list[JsonObject] = []
    num_singles = num_bytes = 0
    for name, tensor in tensors.items():
        entry: JsonObject = {"name": name, "shape": list(tensor.shape)}
        single = tensor
        if weights == "int8" and tensor.ndim == 2:
            rows, single = quantized(tensor)
            bytes_.append(rows)
            entry |= {"scales_offset": 4 * num_singles, "offset": num_bytes}
            num_bytes += rows.size
        else:
            entry["offset"] = 4 * num_singles
        singles.append(single.astype("<f4"))
        num_singles += single.size
        entries.append(entry)
    for entry in entries:
        if "scales_offset" in entry:
            entry["offset"] += 4 * num_singles
    return entries, b"".join([array.tobytes() for array in singles] + [array.tobytes() for array in bytes_])


def quantized(matrix: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return a matrix (R, C) as integers from -127 to 127 (R, C), and the scale of each row (R,)."""
    largest = np.abs(matrix).max(axis=1, initial=0)
    scales = (np.maximum(largest, 1e-30) / LARGEST_INT8).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def dequantized(tensors: Tensors) -> Tensors:
    """Return weights as a page with int8 has them."""
    restored = {}
    for name, tensor in tensors.items():
        restored[name] = tensor
        if tensor.ndim == 2:
            rows, scales = quantized(tensor)
            restored[name] = rows * scales[:, None]
    return restored
