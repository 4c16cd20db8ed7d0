"""Messages between processes: a JSON header, then the bytes of arrays and texts. Nothing that is received can run code.

A message is the length of its header (4 bytes, little-endian), the header, and one part after another. The header is
`{"kind": ..., "facts": {...}, "parts": [...]}`, in which each part is `{"dtype": "uint32", "shape": [3]}`, whose bytes follow,
or `{"num_texts": 2, "num_bytes": 9}`, after which the lengths in characters (int64) and the UTF-8 of all texts together follow.
"""

import itertools
import json
import math
from collections.abc import Sequence
from typing import IO, Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from charnn.files import JsonObject

DTYPES = ("uint8", "uint16", "uint32", "int64")
_LENGTH = np.dtype(np.int64)
_HEADER_SIZE_BYTES = 4

Part = npt.NDArray[Any] | Sequence[str]


class MessageError(ValueError):
    """What was received is not a message, or not one that was expected: a mistake in charnn."""


class Message(NamedTuple):
    """A message.

    Args:
        kind: what it says.
        facts: numbers and names, which are written as JSON.
        parts: arrays of one of the `DTYPES`, and lists of texts of any characters, lone surrogates included.
    """

    kind: str
    facts: JsonObject
    parts: Sequence[Part] = ()


class Sendable(Protocol):
    """Something that can become a message and back."""

    def to_message(self) -> Message:
        """Return it as a message."""
        ...

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Return what `to_message` made a message of."""
        ...


def write_message(file: IO[bytes], message: Message) -> None:
    """Write a message and flush the file. Raises MessageError for an array of another data type."""
    packed = [_packed_array(part) if isinstance(part, np.ndarray) else _packed_texts(part) for part in message.parts]
    parts = [header for header, _ in packed]
    header = json.dumps({"kind": message.kind, "facts": message.facts, "parts": parts}).encode("ascii")
    file.write(len(header).to_bytes(_HEADER_SIZE_BYTES, "little") + header)
    for content in itertools.chain.from_iterable(contents for _, contents in packed):
        file.write(content)
    file.flush()


def read_message(file: IO[bytes]) -> Message:
    """Read a message.

    Raises:
        EOFError: if the file ends before the message does.
        MessageError: if it is none.
    """
    size = int.from_bytes(_read(file, _HEADER_SIZE_BYTES), "little")
    content = _read(file, size)
    try:
        header = json.loads(content.decode("ascii"))
        return Message(str(header["kind"]), dict(header["facts"]), [_read_part(file, part) for part in header["parts"]])
    except (KeyError, TypeError, ValueError) as error:
        raise MessageError(f"is no message: {error!r}") from error


def _packed_array(array: npt.NDArray[Any]) -> tuple[JsonObject, list[bytes | memoryview]]:
    """Return the header of an array, and what follows."""
    dtype = array.dtype.name
    if dtype not in DTYPES:
        raise MessageError(f"found an array of {dtype}; it can be of {', '.join(DTYPES)}")
    native = np.ascontiguousarray(array, dtype=dtype)
    return {"dtype": dtype, "shape": array.shape}, [native.data] if native.size else []


def _packed_texts(texts: Sequence[str]) -> tuple[JsonObject, list[bytes | memoryview]]:
    """Return the header of texts, and what follows."""
    lengths = np.fromiter(map(len, texts), dtype=_LENGTH, count=len(texts))
    content = "".join(texts).encode("utf-8", "surrogatepass")
    return {"num_texts": len(texts), "num_bytes": len(content)}, [lengths.tobytes(), content]


def _read_part(file: IO[bytes], header: JsonObject) -> Part:
    if "num_texts" in header:
        return _read_texts(file, _size(header["num_texts"]), _size(header["num_bytes"]))
    if header["dtype"] not in DTYPES:
        raise MessageError(f"found an array of {header['dtype']!r}")
    return _read_array(file, np.dtype(header["dtype"]), [_size(number) for number in header["shape"]])


def _read_array(file: IO[bytes], dtype: np.dtype[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    return np.ndarray(shape, dtype, buffer=_read(file, math.prod(shape) * dtype.itemsize))


def _read_texts(file: IO[bytes], num_texts: int, num_bytes: int) -> list[str]:
    lengths = _read_array(file, _LENGTH, [num_texts])
    text = _read(file, num_bytes).decode("utf-8", "surrogatepass")
    if (lengths < 0).any() or int(lengths.sum()) != len(text):
        raise MessageError("the lengths of the texts are not those of their characters")
    ends = np.cumsum(lengths).tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _size(number: Any) -> int:
    if not isinstance(number, int) or number < 0:
        raise MessageError(f"found {number!r} where a size is expected")
    return number


def _read(file: IO[bytes], num_bytes: int) -> bytes:
    content = file.read(num_bytes)
    if len(content) < num_bytes:
        raise EOFError(f"found {len(content)} of {num_bytes} bytes")
    return content
