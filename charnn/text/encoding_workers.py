"""Encoding of chunks of a long text in processes of their own, in order.

A worker is a Python process that reads chunks from its standard input and writes results to its standard output, as messages
(see `process_messages`). It ends when its input is closed, so also when the process that started it is killed. (The modules
`multiprocessing` and `concurrent.futures` would import a user's script again, and leave workers behind.)
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Generic, Protocol, Self, TypeVar

from charnn.cores import available_cores
from charnn.errors import ModelError, OptionError, TextError, UnknownTokenError
from charnn.text.process_messages import Message, MessageError, Sendable, read_message, write_message

MIN_PARALLEL_BYTES = 16 << 20
"""Bytes of a text for which starting workers, a third of a second, is worth while."""
MAX_WORKERS = 8
"""One process reads and divides the text, at some eight times the speed at which a worker encodes words."""
CHUNKS_PER_WORKER = 2
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from charnn.text.encoding_workers import work; from charnn.text.encoding import ENCODERS; "
    "work(sys.stdin.buffer, sys.stdout.buffer, ENCODERS)"
)
_ERRORS = {error.__name__: error for error in (TextError, UnknownTokenError, ModelError, OptionError, MemoryError)}
"""The errors of a worker that are raised as they are; others become RuntimeErrors."""

Chunk = TypeVar("Chunk", bound=Sendable)
Result = TypeVar("Result", bound=Sendable)


class Encoder(Protocol[Chunk, Result]):
    """Encodes chunks, here or in a worker, which finds the class by the kind of the encoder's message.

    It keeps nothing of one chunk on which the result of another depends.
    """

    chunk_type: type[Chunk]
    result_type: type[Result]

    def __call__(self, chunk: Chunk) -> Result:
        """Encode a chunk."""
        ...

    def to_message(self) -> Message:
        """Return what another process needs in order to make the same encoder."""
        ...

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Make the encoder that a message describes."""
        ...


Encoders = Mapping[str, type[Encoder[Any, Any]]]
"""The encoders that a worker may be asked for, by the kinds of their messages."""


def choose_num_workers(num_bytes: int) -> int:
    """Return how many processes should encode a text of this size; 1 for none but this one."""
    return min(available_cores(), MAX_WORKERS) if num_bytes >= MIN_PARALLEL_BYTES else 1


def encode_in_order(
    encode: Encoder[Chunk, Result], chunks: Iterator[Chunk], *, num_workers: int
) -> Iterator[tuple[Chunk, Result]]:
    """Yield each chunk with its encoding, in order.

    Args:
        encode: one of `charnn.text.encoding.ENCODERS`.
        num_workers: processes that encode; with fewer than two, this process does.

    Raises:
        TextError: if a worker is killed.
        RuntimeError: for an unexpected error in a worker, with its traceback.
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
def _started(encode: Encoder[Chunk, Result], num_workers: int) -> Iterator[Callable[[Chunk], Result]]:
    """Start workers; yields a function that lets a free one encode a chunk, and that several threads may call."""
    workers = []
    free: queue.SimpleQueue[_Worker[Chunk, Result]] = queue.SimpleQueue()

    def run(chunk: Chunk) -> Result:
        worker = free.get()
        try:
            return worker.ask(chunk)
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


class _Worker(Generic[Chunk, Result]):
    """A process that encodes chunks."""

    def __init__(self, encode: Encoder[Chunk, Result]) -> None:
        self._result_type = encode.result_type
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for this process, which ends the worker
        )
        path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
        self._send(lambda file: file.write(path.encode("ascii") + b"\n"))
        self._send(lambda file: write_message(file, encode.to_message()))

    def ask(self, chunk: Chunk) -> Result:
        """Return the encoding of a chunk, or raise the error that the worker raised."""
        assert self._process.stdout is not None
        self._send(lambda file: write_message(file, chunk.to_message()))
        try:
            answer = read_message(self._process.stdout)
        except EOFError as error:
            raise self._lost() from error
        if answer.kind == "error":
            raise _raised(answer)
        return self._result_type.from_message(answer)

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # data for a process that is gone
                stream.close()
        self._process.wait()

    def _send(self, write: Callable[[IO[bytes]], Any]) -> None:
        assert self._process.stdin is not None
        try:
            write(self._process.stdin)
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> TextError:
        status = self._process.wait()
        return TextError(
            f"a process that encoded the text ended with status {status}, perhaps for lack of memory; "
            "run the command again, with OMP_NUM_THREADS=1 to encode in one process"
        )


def work(reader: IO[bytes], writer: IO[bytes], encoders: Encoders) -> None:
    """Encode what is read until the input ends: first comes the encoder, then chunks; called in a worker.

    Raises:
        MessageError: for another encoder than these, or for what is no message.
    """
    sys.stdout = sys.stderr
    try:
        first = read_message(reader)
        if first.kind not in encoders:
            raise MessageError(f"found the encoder {first.kind!r}; known are {', '.join(encoders)}")
        encode = encoders[first.kind].from_message(first)
        while True:
            write_message(writer, _answer(encode, read_message(reader)))
    except EOFError:  # closed, or cut short as the parent was killed
        return
    except BrokenPipeError:
        os._exit(1)  # nobody reads, not even what is still buffered


def _answer(encode: Encoder[Any, Any], message: Message) -> Message:
    """Return the encoding of a chunk; an error is raised again where the chunk came from."""
    try:
        result: Message = encode(encode.chunk_type.from_message(message)).to_message()
    except Exception as error:
        name = next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), None)
        return Message("error", {"name": name}, [[traceback.format_exc() if name is None else str(error)]])
    return result


def _raised(answer: Message) -> Exception:
    """Return the error that an answer reports."""
    said, name = answer.parts[0][0], answer.facts["name"]
    error = _ERRORS.get(name)
    return error(said) if error is not None else RuntimeError(f"a process that encoded the text failed:\n{said}")
