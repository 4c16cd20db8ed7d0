"""Files of the safetensors format, written from arrays and read into arrays without a copy of them in between.

The functions of the package `safetensors` copy all tensors, once on reading and twice on writing: hundreds of megabytes for a
large model, at a moment when it is being trained. Source of the format: https://huggingface.co/docs/safetensors
"""

import json
import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from charnn.files import JsonObject

Tensors = dict[str, npt.NDArray[Any]]
DTYPES = {
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    "bool": "BOOL",
}
"""The names of NumPy's dtypes in safetensors."""
METADATA = "__metadata__"
ALIGNMENT = 8
"""Bytes of the length of the header, a multiple of which it takes."""
_NUMPY_DTYPES = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in DTYPES.items()}


def packed_arrays(tensors: Tensors, metadata: JsonObject) -> list[bytes | memoryview]:
    """Return the content of a file in parts: its beginning, and the arrays themselves.

    Args:
        tensors: contiguous, of the dtypes in `DTYPES`.
        metadata: texts by name.
    """
    table: JsonObject = {METADATA: metadata}
    parts: list[bytes | memoryview] = []
    end = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):  # so that each is aligned
        array = tensors[name]
        start, end = end, end + array.nbytes
        table[name] = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": [start, end]}
        if array.nbytes:
            parts.append(array.reshape(-1).view(np.uint8).data)
    encoded = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    encoded += b" " * (-len(encoded) % ALIGNMENT)
    return [len(encoded).to_bytes(ALIGNMENT, "little") + encoded, *parts]


def read_arrays(path: Path) -> tuple[Tensors, JsonObject]:
    """Return the arrays of a file, and its metadata.

    Raises:
        ValueError: if it is not a whole file of the format.
    """
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - ALIGNMENT
        length = int.from_bytes(file.read(ALIGNMENT), "little")
        if not 0 < length <= left:
            raise ValueError(f"a header of {length:,} bytes where {max(left, 0):,} are left")
        table = json.loads(file.read(length).decode("utf-8"))
        if not isinstance(table, dict):
            raise ValueError("its header is no table")
        metadata = table.pop(METADATA, {})
        if not isinstance(metadata, dict):
            raise ValueError("its metadata is no table")
        tensors = _read_in_order(file, table, left - length)
    return tensors, metadata


def _read_in_order(file: IO[bytes], table: JsonObject, num_bytes: int) -> Tensors:
    """Read all arrays of a table, which together are the next bytes of a file, without gaps."""
    entries = {name: _entry(name, entry) for name, entry in table.items()}
    tensors, position = {}, 0
    for name, (dtype, shape, start, end) in sorted(entries.items(), key=lambda entry: entry[1][2:]):
        if start != position or end - start != math.prod(shape) * dtype.itemsize or end > num_bytes:
            raise ValueError(f"{name} has the bytes {start:,} to {end:,} of {num_bytes:,}, which do not fit")
        array = np.empty(shape, dtype)
        if array.nbytes and file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"it ends within {name}")
        tensors[name], position = array.astype(dtype.newbyteorder("="), copy=False), end
    if position != num_bytes:
        raise ValueError(f"{num_bytes - position:,} bytes belong to no tensor")
    return tensors


def _entry(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Return the dtype, the shape and the bounds of an array, which a table describes."""
    try:
        (start, end), shape = entry["data_offsets"], tuple(entry["shape"])
        dtype = _NUMPY_DTYPES[entry["dtype"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is described by {str(entry)[:80]}") from error
    if not all(isinstance(number, int) and number >= 0 for number in (start, end, *shape)):
        raise ValueError(f"{name} has {shape} numbers from {start} to {end}")
    return dtype, shape, start, end
