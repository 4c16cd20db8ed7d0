"""Code points of a text as arrays: counting them, and replacing them by ids, at the speed of memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

NUM_CODE_POINTS = 0x110000
BLOCK_CHARS = 1 << 18
"""Characters handled at a time: what is computed from them stays in the processor's cache."""

Codes = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


def code_points(text: str) -> Codes:
    """Return the code points of a text (N,), in a data type that holds them."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    narrow = text.encode("utf-16-le", "surrogatepass")
    if len(narrow) == 2 * len(text):
        return np.frombuffer(narrow, dtype="<u2")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def raw_bytes(text: str) -> npt.NDArray[np.uint8]:
    """Return the bytes of a text that was read as raw bytes."""
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)


def count_values(values: Codes) -> npt.NDArray[np.int64]:
    """Return the count of each value."""
    if values.dtype != np.uint8:
        return np.bincount(values)
    pairs, counts = np.zeros(1 << 16, dtype=np.int64), np.zeros(256, dtype=np.int64)
    for first in range(0, len(values), BLOCK_CHARS):
        block = values[first : first + BLOCK_CHARS]
        if len(block) % 2:
            counts[block[-1]] += 1
            block = block[:-1]
        add_counts(pairs, np.bincount(block.view(np.uint16)))  # half as many as single values
    square = pairs.reshape(256, 256)
    counts += square.sum(axis=0) + square.sum(axis=1)
    return counts


class ChunkCounts:
    """Counts of the values in each chunk of a text, from which the counts of a beginning of it are known without reading again.

    Args:
        values: returns those of a chunk: `code_points` or `raw_bytes`.
        is_kept: whether the beginning may end in the chunk that is read now; if so, it is kept.
    """

    def __init__(self, values: Callable[[str], Codes], is_kept: Callable[[], bool] = lambda: False) -> None:
        self._values, self._is_kept = values, is_kept
        self._kept: dict[int, str] = {}
        self._chunks: list[tuple[int, npt.NDArray[np.int32], npt.NDArray[np.int32]]] = []

    def counted(self, chunks: Iterable[str]) -> Iterator[str]:
        """Count each chunk and yield it."""
        for chunk in chunks:
            counts = count_values(self._values(chunk))
            present = np.flatnonzero(counts)
            if self._is_kept():
                self._kept[len(self._chunks)] = chunk
            self._chunks.append((len(chunk), present.astype(np.int32), counts[present].astype(np.int32)))
            yield chunk

    def of_beginning(self, num_chars: int, chunks: Callable[[], Iterable[str]]) -> npt.NDArray[np.int64]:
        """Return the count of each value (NUM_CODE_POINTS,) in the first characters of the text.

        Args:
            num_chars: how many.
            chunks: reads the text again, in the same chunks; called if the characters end within a chunk that was not kept.
        """
        kept, self._kept = self._kept, {}
        counts = np.zeros(NUM_CODE_POINTS, dtype=np.int64)
        for number, (length, present, present_counts) in enumerate(self._chunks):
            if length > num_chars:
                chunk = kept[number] if number in kept else _nth(chunks(), number)
                add_counts(counts, count_values(self._values(chunk[:num_chars])))
                break
            counts[present] += present_counts
            num_chars -= length
        return counts


def _nth(chunks: Iterable[str], number: int) -> str:
    return next(chunk for place, chunk in enumerate(chunks) if place == number)


def add_counts(totals: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
    """Add counts of the lowest values to totals."""
    totals[: len(counts)] += counts


def count_texts(texts: Iterable[str], values: Callable[[str], Codes]) -> npt.NDArray[np.int64]:
    """Return the count of each value (NUM_CODE_POINTS,) in some texts."""
    totals = np.zeros(NUM_CODE_POINTS, dtype=np.int64)
    for text in texts:
        add_counts(totals, count_values(values(text)))
    return totals


class StoredCharacters:
    """Replaces code points by ids.

    Args:
        id_of_code_point: the id of each code point (NUM_CODE_POINTS,), in the data type of the result.
    """

    def __init__(self, id_of_code_point: npt.NDArray[Any]) -> None:
        self._ids = id_of_code_point
        self._of_byte = id_of_code_point[:256].tobytes() if id_of_code_point.itemsize == 1 else None

    def encode(self, text: str) -> npt.NDArray[Any]:
        """Return one id per code point (N,)."""
        parts = [self._block(text[first : first + BLOCK_CHARS]) for first in range(0, len(text), BLOCK_CHARS)]
        return parts[0] if len(parts) == 1 else np.concatenate([self._ids[:0], *parts])

    def _block(self, text: str) -> npt.NDArray[Any]:
        if self._of_byte is not None:
            try:
                return np.frombuffer(text.encode("latin-1").translate(self._of_byte), dtype=self._ids.dtype)
            except UnicodeEncodeError:
                pass
        return self._ids.take(code_points(text))
