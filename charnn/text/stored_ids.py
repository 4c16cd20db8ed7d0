"""Encoded text on disk: `train.bin` and `valid.bin`, divided into shards where they would be larger than `SHARD_BYTES`.

The first shard has the name of the whole, the others a number from 2: `train.bin`, `train.2.bin`, `train.3.bin`. What is read
does not depend on how a text is divided.
"""

import contextlib
import itertools
import mmap
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from charnn.files import explain_write_errors

SHARD_BYTES = 1 << 31
"""Some file systems and programs refuse files of 2 or 4 GB."""
FLUSHED_BYTES = 1 << 25
"""Written bytes after which a thread begins to flush them to disk, while the text is read on."""

MAX_UNWRITTEN = 8
"""Pieces of text that wait to be written."""
MAX_RESIDENT_BYTES = 1 << 26
"""Of longer encoded texts, what was read for a batch does not stay in memory."""
BLOCK_TOKENS = 1 << 20

IdArray = npt.NDArray[np.unsignedinteger[Any]]


class ShardedIds:
    """Arrays one after another (N,), which behave like a single one where they are indexed by integers, slices or arrays.

    Args:
        shards: arrays of one data type, memory-mapped or not.
    """

    ndim = 1

    def __init__(self, shards: Sequence[npt.NDArray[Any]]) -> None:
        self._shards = shards
        self._ends = np.cumsum([len(shard) for shard in shards])
        self.dtype = shards[0].dtype
        self.size = int(self._ends[-1])
        self.shape = (self.size,)

    def __len__(self) -> int:
        return self.size

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("text in several shards cannot be viewed as one array")
        return np.concatenate(self._shards).astype(dtype or self.dtype, copy=False)

    def __iter__(self) -> Iterator[Any]:
        for shard in self._shards:
            yield from shard

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            first, end, step = key.indices(self.size)
            low, high = (first, end) if step > 0 else (end + 1, first + 1)
            whole = np.concatenate([*self.parts(low, high), self._shards[0][:0]])
            return whole[::step] if step > 0 else whole[::-1][::-step]
        positions = np.asarray(key)
        if positions.dtype == bool:
            positions = np.flatnonzero(positions)
        if positions.size and not (-self.size <= positions.min() and positions.max() < self.size):
            raise IndexError(f"a position is out of bounds for {self.size} tokens")
        positions = np.where(positions < 0, positions + self.size, positions)
        shard_of = np.searchsorted(self._ends, positions, side="right")
        found = np.empty(positions.shape, dtype=self.dtype)
        for number in np.unique(shard_of).tolist():
            is_here = shard_of == number
            found[is_here] = self._shards[number][positions[is_here] - self._first(number)]
        return found[()]

    def astype(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return all of it as one array."""
        return self.__array__(dtype)

    def tolist(self) -> list[int]:
        """Return all of it as a list."""
        return cast(list[int], np.asarray(self).tolist())

    def parts(self, first: int, end: int) -> list[npt.NDArray[Any]]:
        """Return views that together are the tokens from `first` to `end`."""
        bounds = [(self._first(number), shard) for number, shard in enumerate(self._shards)]
        views = [shard[max(first - start, 0) : max(end - start, 0)] for start, shard in bounds]
        return [view for view in views if len(view)]

    def release(self) -> None:
        """See `release`."""
        for shard in self._shards:
            release(shard)

    def _first(self, number: int) -> int:
        return int(self._ends[number]) - len(self._shards[number])


def shard_path(path: Path, number: int) -> Path:
    """Return the path of a shard, from 1."""
    return path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")


def shard_paths(path: Path, *, first: int = 1) -> list[Path]:
    """Return the existing shards of an encoded text, in order, from the first of them."""
    paths = (shard_path(path, number) for number in itertools.count(first))
    return list(itertools.takewhile(Path.exists, paths))


def stored_bytes(path: Path) -> int:
    """Return the size of an encoded text in all its shards."""
    return sum(shard.stat().st_size for shard in shard_paths(path))


def open_stored(path: Path, dtype: npt.DTypeLike) -> IdArray:
    """Memory-map encoded text (N,), possibly empty; of several shards, as `ShardedIds`. Raises FileNotFoundError."""
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=dtype)
    shards = [np.memmap(shard, dtype=dtype, mode="r") for shard in shard_paths(path)]
    return shards[0] if len(shards) == 1 else cast(IdArray, ShardedIds(shards))


def spaced_parts(ids: npt.NDArray[Any], length: int, number: int) -> npt.NDArray[Any]:
    """Return evenly spaced parts of a text (N,) as one text, without copying them where they are memory-mapped."""
    starts = range(0, len(ids) - length + 1, max(1, len(ids) // number))
    whole = ids if isinstance(ids, ShardedIds) else ShardedIds([ids])
    return cast(npt.NDArray[Any], ShardedIds([part for start in starts for part in whole.parts(start, start + length)]))


def spread(ids: npt.NDArray[Any], max_tokens: int) -> npt.NDArray[Any]:
    """Return a text (N,), or of a longer one about `max_tokens` tokens in ten evenly spaced parts."""
    return ids if len(ids) <= max_tokens else spaced_parts(ids, max(1, max_tokens // 10), 10)


def as_array(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a memory-mapped text as a plain array, without reading it; one in several shards as it is."""
    return ids if isinstance(ids, ShardedIds) else np.asarray(ids)


def index_type(number: int) -> npt.DTypeLike:
    """Return the data type of indices below a number: those of long texts take much memory."""
    return np.uint32 if number < 1 << 32 else np.int64


def positions_of(ids: npt.NDArray[Any], id: int) -> npt.NDArray[Any]:
    """Return the positions of a token in a text (N,), in order."""
    number = sum(int(np.count_nonzero(block == id)) for block in blocks(ids, BLOCK_TOKENS))
    positions = np.empty(number, dtype=index_type(len(ids)))
    first = num_found = 0
    for block in blocks(ids, BLOCK_TOKENS):
        found = np.flatnonzero(block == id) + first
        positions[num_found : num_found + len(found)] = found
        first, num_found = first + len(block), num_found + len(found)
    return positions


def blocks(ids: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    """Yield a text (N,) in blocks, without keeping what was read in memory."""
    for first in range(0, len(ids), size):
        yield read_block(ids, first, first + size)


def read_block(ids: npt.NDArray[Any], first: int, end: int) -> npt.NDArray[Any]:
    """Return a copy of a part of a text (N,), without keeping what was read in memory."""
    block = np.array(ids[first:end])
    release(ids)
    return block


def tokens_at(ids: npt.NDArray[Any], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the tokens at some positions of an encoded text; of a long one, nothing else stays in memory."""
    tokens = np.asarray(ids[positions]).astype(np.int64)
    if len(ids) * ids.dtype.itemsize > MAX_RESIDENT_BYTES:
        release(ids)
    return tokens


def release(ids: npt.NDArray[Any]) -> None:
    """Drop what was read of a memory-mapped text from the memory of this process, where the system can."""
    if isinstance(ids, ShardedIds):
        ids.release()
        return
    while isinstance(ids, np.ndarray):
        mapped: Any = getattr(ids, "_mmap", None)
        if hasattr(mapped, "madvise"):
            with contextlib.suppress(OSError, ValueError):
                mapped.madvise(mmap.MADV_DONTNEED)
            return
        ids = ids.base  # type: ignore[assignment]


class ShardWriter:
    """Writes an encoded text, in shards if it is long, in a thread; another one flushes it to disk while more is written.

    Args:
        path: of the first shard; older shards are removed.
        writer, flusher: the threads; they are not shut down.
    """

    def __init__(self, path: Path, writer: ThreadPoolExecutor, flusher: ThreadPoolExecutor) -> None:
        self._path, self._writer, self._flusher = path, writer, flusher
        for old in shard_paths(path, first=2):
            old.unlink()
        self._number, self._num_written, self._num_unflushed = 1, 0, 0
        self._file: IO[bytes] = path.open("wb", buffering=0)
        self._flushing: Future[None] | None = None
        self._writing: deque[Future[None]] = deque()

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes, which must not be changed afterwards; an error may be raised by a later call."""
        self._writing.append(self._writer.submit(self._write, memoryview(data).cast("B")))
        if len(self._writing) > MAX_UNWRITTEN:
            self._writing.popleft().result()

    def finish(self) -> None:
        """Flush all of it to disk."""
        while self._writing:
            self._writing.popleft().result()
        self._flush()

    def close(self) -> None:
        """Close the file, whether or not it is complete."""
        for task in (*self._writing, *([self._flushing] if self._flushing else [])):
            with contextlib.suppress(OSError):  # the first error is reported
                task.result()
        self._file.close()

    def _write(self, view: memoryview) -> None:
        while len(view):
            if self._num_written == SHARD_BYTES:
                self._flush()
                self._file.close()
                self._number, self._num_written = self._number + 1, 0
                self._file = shard_path(self._path, self._number).open("wb", buffering=0)
            number = self._file.write(view[: SHARD_BYTES - self._num_written])
            self._num_written += number
            self._num_unflushed += number
            view = view[number:]
        if self._num_unflushed >= FLUSHED_BYTES and (self._flushing is None or self._flushing.done()):
            self._wait_for_flush()
            self._flushing, self._num_unflushed = self._flusher.submit(os.fsync, self._file.fileno()), 0

    def _flush(self) -> None:
        self._wait_for_flush()
        os.fsync(self._file.fileno())

    def _wait_for_flush(self) -> None:
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            flushing.result()


@contextlib.contextmanager
def shard_writers(paths: Iterable[Path]) -> Iterator[list[ShardWriter]]:
    """Open encoded texts to write; they are flushed to disk when the block ends without an exception.

    Raises:
        StorageError: if they cannot be written.
    """
    paths = list(paths)
    with contextlib.ExitStack() as stack:
        stack.enter_context(explain_write_errors(paths[0]))
        threads = [stack.enter_context(ThreadPoolExecutor(1, name)) for name in ("charnn-write", "charnn-flush")]
        writers = []
        for path in paths:
            writers.append(ShardWriter(path, *threads))
            stack.callback(writers[-1].close)
        yield writers
        for writer in writers:
            writer.finish()


def read_stored(path: Path, dtype: npt.DTypeLike, first: int, end: int) -> npt.NDArray[Any]:
    """Read the tokens from `first` to `end` of an encoded text, without mapping it into memory."""
    itemsize = np.dtype(dtype).itemsize
    parts = [np.zeros(0, dtype=dtype)]
    for shard in shard_paths(path):
        size = shard.stat().st_size // itemsize
        start, stop = min(max(first, 0), size), min(max(end, 0), size)
        if start < stop:
            parts.append(np.fromfile(shard, dtype=dtype, count=stop - start, offset=start * itemsize))
        first, end = first - size, end - size
    return np.concatenate(parts)


def replace_shards(source: Path, target: Path) -> None:
    """Rename an encoded text, replacing another one."""
    for old in shard_paths(target, first=len(shard_paths(source)) + 1):
        old.unlink()
    for number, shard in enumerate(shard_paths(source), start=1):
        shard.replace(shard_path(target, number))
