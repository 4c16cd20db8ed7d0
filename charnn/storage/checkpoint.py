"""Checkpoints: a description in JSON and tensors in safetensors, of the same generation.

Both files contain the same generation number (the training step at which they were written). The newest complete checkpoint
is read, under the final names or the staged ones that a crash left behind.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charnn.errors import ModelError
from charnn.files import JsonObject, read_json, staged
from charnn.storage.run_files import unsharded_name
from charnn.storage.tensor_file import Tensors, packed_arrays, read_arrays

FORMAT_VERSION = 3
"""Version 2 added n-gram embeddings, version 3 options of cells; older versions are supported."""
_PICKLE_NAMES = ("pytorch_model.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.bin")
_PICKLE_BEGINNINGS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_ENCODED_TEXT = ("train.bin", "valid.bin", "old-valid.bin")


def packed_tensors(tensors: Tensors, header: JsonObject) -> list[bytes | memoryview]:
    """Return the content of a safetensors file in parts.

    The header is one metadata entry, so that equal contents give equal bytes. A checksum of the tensors is added to it, by
    which `read_tensors` notices damage.

    Args:
        tensors: contiguous, of the dtypes in `DTYPES`.
    """
    described = {**header, "crc32": _checksum(tensors)}
    return packed_arrays(tensors, {"charnn": json.dumps(described, sort_keys=True)})


def _checksum(tensors: Tensors) -> int:
    """Return the CRC-32 of the names and the content of tensors."""
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(np.ascontiguousarray(tensors[name]).data, zlib.crc32(name.encode("utf-8"), checksum))
    return checksum


class Checkpoint(NamedTuple):
    """One generation: its contents and the two files that store it."""

    description: JsonObject
    tensors: Tensors
    files: tuple[Path, Path]


def newest_checkpoint(path: Path, json_name: str, tensors_name: str) -> Checkpoint:
    """Return the newest generation of which both files are complete, under their final names or the staged ones.

    Raises:
        ModelError: if there is none, naming what is missing, damaged, of a newer version or a pickle.
    """
    complaints: list[ModelError] = []
    descriptions = _candidates(path / json_name, _read_description, complaints)
    tensors = _candidates(path / tensors_name, read_tensors, complaints)
    checkpoints = {
        header["generation"]: Checkpoint(description, arrays, (json_file, tensors_file))
        for json_file, description in reversed(descriptions)
        for tensors_file, (arrays, header) in reversed(tensors)
        if header["generation"] == description.get("generation")
    }
    if checkpoints:
        return checkpoints[max(checkpoints)]
    if complaints:
        raise complaints[-1]
    raise ModelError(
        f"{path}: {json_name} and {tensors_name} are of different generations; restore the files that belong together"
    )


def _candidates(file: Path, read: Callable[[Path], Any], complaints: list[ModelError]) -> list[tuple[Path, Any]]:
    """Read a file and its staged version, as far as they exist; errors are appended to the complaints."""
    candidates = []
    for candidate in (file, staged(file)):
        if candidate.exists():
            try:
                candidates.append((candidate, read(candidate)))
            except ModelError as error:
                complaints.append(error)
    if not candidates and not complaints:
        complaints.append(_missing(file))
    return candidates


def _missing(file: Path) -> ModelError:
    pickles = [
        path.name
        for pattern in _PICKLE_NAMES
        for path in file.parent.glob(pattern)
        if unsharded_name(path.name) not in _ENCODED_TEXT
    ]
    if file.suffix == ".safetensors" and pickles:
        return ModelError(
            f"{file.parent / pickles[0]}: looks like a pickle, which can run code when it is opened; charnn never loads one: "
            f"save the weights as {file.name}"
        )
    return ModelError(f"{file}: is missing; restore it or train again")


def _read_description(file: Path) -> JsonObject:
    return read_json(str(file), file.read_bytes(), FORMAT_VERSION)


def read_tensors(file: Path) -> tuple[Tensors, JsonObject]:
    """Return the arrays and the header of a safetensors file.

    Raises:
        ModelError: if it is damaged, of a newer version or a pickle.
    """
    with file.open("rb") as opened:
        beginning = opened.read(9)
    if (
        beginning[8:] not in (b"", b"{") and beginning[:2] in _PICKLE_BEGINNINGS
    ):  # safetensors may begin so too, but then "{"
        raise ModelError(
            f"{file}: is a pickle (a torch.save file), which can run code when it is opened; charnn never loads one: "
            "save the weights as safetensors"
        )
    try:
        tensors, metadata = read_arrays(file)
        if "charnn" not in metadata:
            raise ModelError(
                f"{file}: was not written by charnn train (an export is not a model); name a model's directory"
            )
        header: JsonObject = json.loads(metadata["charnn"])
        version, _ = int(header["format_version"]), int(header["generation"])
    except (KeyError, TypeError, ValueError, MemoryError) as error:
        raise ModelError(f"{file}: is damaged or truncated ({error}); restore the file or train again") from error
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{file}: has format version {version}, this charnn reads up to {FORMAT_VERSION}; install a newer charnn"
        )
    checksum = header.pop("crc32", None)  # older versions saved none
    if checksum is not None and checksum != _checksum(tensors):
        raise ModelError(
            f"{file}: is damaged (its content does not have the crc32 in its header); restore the file or train again, or "
            "leave the crc32 out if you changed the tensors"
        )
    return tensors, header
