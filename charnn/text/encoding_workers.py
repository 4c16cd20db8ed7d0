"""Encoding of chunks of a long text in processes of their own, in order.

A worker is a Python process that reads pickled chunks from its standard input and writes results to its standard output. It
ends when its input is closed, so also when the process that started it is killed. (The modules `multiprocessing` and
`concurrent.futures` would import a user's script again, and leave workers behind.)
"""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, TypeVar, cast

from charnn.cores import available_cores
from charnn.errors import TextError

MIN_PARALLEL_BYTES = 16 << 20
"""Bytes of a text for which starting workers, a third of a second, is worth while."""
MAX_WORKERS = 8
"""One process reads and divides the text, at some eight times the speed at which a worker encodes words."""
CHUNKS_PER_WORKER = 2
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from charnn.text.encoding_workers import work; work(sys.stdin.buffer, sys.stdout.buffer)"
)

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


def choose_num_workers(num_bytes: int) -> int:
    """Return how many processes should encode a text of this size; 1 for none but this one."""
    return min(available_cores(), MAX_WORKERS) if num_bytes >= MIN_PARALLEL_BYTES else 1


def encode_in_order(
    encode: Callable[[Chunk], Result], chunks: Iterator[Chunk], *, num_workers: int
) -> Iterator[tuple[Chunk, Result]]:
    """Yield each chunk with its encoding, in order.

    Args:
        encode: can be pickled, and keeps nothing of one chunk on which the result of another depends.
        num_workers: processes that encode; with fewer than two, this process does.

    Raises:
        TextError: if a worker is killed.
    """
    if num_workers < 2:
        yield from ((chunk, encode(chunk)) for chunk in chunks)
        return
    with ThreadPoolExecutor(num_workers, "charnn-encode") as threads, _started(encode, num_workers) as run:
        pending: deque[tuple[Chunk, Future[Result]]] = deque()
        try:
            for chunk in chunks:
                pending.append((chunk, threads.submit(run, chunk)))
                if len(pending) > CHUNKS_PER_WORKER * num_workers:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()


@contextlib.contextmanager
def _started(encode: Callable[[Chunk], Result], num_workers: int) -> Iterator[Callable[[Chunk], Result]]:
    """Start workers; yields a function that lets a free one encode a chunk, and that several threads may call."""
    workers = []
    free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def run(chunk: Chunk) -> Result:
        worker = free.get()
        try:
            return cast(Result, worker.ask(chunk))
        finally:
            free.put(worker)

    try:
        for _ in range(num_workers):
            workers.append(_Worker(encode))
            free.put(workers[-1])
        yield run
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that encodes chunks."""

    def __init__(self, encode: Callable[[Any], Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for this process, which ends the worker
        )
        self._send(sys.path)
        self._send(encode)

    def ask(self, chunk: Any) -> Any:
        """Return the encoding of a chunk, or raise the exception that the worker raised."""
        assert self._process.stdout is not None
        self._send(chunk)
        try:
            result = pickle.load(self._process.stdout)  # what a child of this process wrote
        except (EOFError, pickle.UnpicklingError) as error:
            raise self._lost() from error
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # data for a process that is gone
                stream.close()
        self._process.wait()

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(value, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> TextError:
        status = self._process.wait()
        return TextError(
            f"a process that encoded the text ended with status {status}, perhaps for lack of memory; "
            "run the command again, with OMP_NUM_THREADS=1 to encode in one process"
        )


def work(reader: IO[bytes], writer: IO[bytes]) -> None:
    """Encode what is read until the input ends: first comes the function, then chunks; called in a worker."""
    sys.stdout = sys.stderr
    try:
        encode = pickle.load(reader)
        while True:
            _answer(encode, pickle.load(reader), writer)
    except (EOFError, pickle.UnpicklingError):  # closed, or cut short as the parent was killed
        return
    except BrokenPipeError:
        os._exit(1)  # nobody reads, not even what is still buffered


def _answer(encode: Callable[[Any], Any], chunk: Any, writer: IO[bytes]) -> None:
    try:
        result = encode(chunk)
    except Exception as error:  # raised again where the chunk came from
        result = error
    pickle.dump(result, writer, protocol=pickle.HIGHEST_PROTOCOL)
    writer.flush()
