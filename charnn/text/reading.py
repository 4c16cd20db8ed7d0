"""Reading text: many files, directories, globs, gzip and standard input, as a stream of decoded chunks."""

import codecs
import contextlib
import glob
import gzip
import hashlib
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from charnn.errors import OptionError, TextError
from charnn.files import explain_write_errors
from charnn.notices import notice_logger

logger = notice_logger(__name__)

CHUNK_BYTES = 1 << 20
STANDARD_INPUT, PIPE_OR_NAME = "standard input", "pipe a text into the command or name a file"
RAW = "raw bytes"
"""Pseudo-encoding for raw bytes: undecodable bytes become surrogates, which encode to the same bytes."""


@dataclass(frozen=True)
class Source:
    """One text to read.

    Args:
        name: for messages.
        path: path of the file; None for standard input, which is read once.
        num_bytes: number of (compressed) bytes to read; None for all.
        separator: if only a beginning is read, it ends at its last separator.
    """

    name: str
    path: Path | None
    num_bytes: int | None = None
    separator: str = "\n"

    def open(self) -> IO[bytes]:
        """Open the file, decompressed if its name ends in .gz."""
        if self.path is None:
            return sys.stdin.buffer
        packed = self.name.endswith(".gz")
        return cast(IO[bytes], gzip.open(self.path)) if packed else self.path.open("rb")


def find_sources(texts: Sequence[str], *, spool: Path | None = None) -> list[Source]:
    """Return the files for names of files, directories and globs.

    Args:
        texts: files, directories (searched recursively; hidden files, binary files and models are skipped), globs, or `-`.
        spool: file for a copy of standard input, which allows reading it several times; None to read it once.

    Raises:
        TextError: if a name matches no file.
    """
    check_exist(texts)
    sources: list[Source] = []
    for text in texts:
        path = Path(text)
        if text == "-":
            sources.append(_spool_stdin(spool))
        elif path.is_dir():
            sources.extend(_files_below(path))
        elif path.exists():
            sources.append(Source(text, path))
        else:
            sources.extend(Source(match, Path(match)) for match in sorted(_matches(text)) if Path(match).is_file())
    return sources


def check_exist(texts: Sequence[str]) -> None:
    """Check that each name leads to a file, a directory or standard input, without reading any of them.

    Raises:
        TextError: naming the first that does not.
    """
    for text in texts:
        if text == "-":
            _check_stdin()
        elif not Path(text).exists() and not _matches(text):
            raise TextError(f"{text}: no such file or directory (looked in {Path.cwd()}); check the spelling")


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207 (pathlib refuses absolute patterns)


def _check_stdin() -> None:
    if sys.stdin is None or getattr(sys.stdin, "closed", False):
        raise TextError(f"{STANDARD_INPUT}: is closed; {PIPE_OR_NAME}")
    if sys.stdin.isatty():
        raise TextError(f"{STANDARD_INPUT}: is a terminal; {PIPE_OR_NAME}")


def _spool_stdin(spool: Path | None) -> Source:
    if spool is None:
        return Source(STANDARD_INPUT, None)
    with explain_write_errors(spool), spool.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return Source(STANDARD_INPUT, spool)


def display_name(text: str) -> str:
    """Return how messages name a text: by its path, or as standard input for `-`."""
    return STANDARD_INPUT if text == "-" else text


def empty_text_error(texts: Sequence[str], consequence: str) -> TextError:
    """Return the error for texts that are empty.

    Args:
        texts: as the user named them.
        consequence: what cannot be done, or what the file should contain.
    """
    names = [display_name(text) for text in texts]
    advice = PIPE_OR_NAME if names == [STANDARD_INPUT] else consequence
    return TextError(f"{', '.join(names)}: is empty; {advice}")


def _files_below(directory: Path) -> list[Source]:
    sources = [
        Source(str(path), path)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
        and not (path.parent / "model.safetensors").exists()  # a model of one's own is no text
    ]
    texts = [source for source in sources if not _looks_binary(source)]
    if not texts:
        raise TextError(f"{directory}: contains no text ({len(sources)} files examined); name a text file")
    if len(texts) < len(sources):
        logger.info(f"{directory}: skipped {len(sources) - len(texts)} binary files, reading {len(texts)}")
    return texts


def _looks_binary(source: Source) -> bool:
    with explain_read_errors(source), source.open() as file:
        return b"\0" in file.read(8192)


@contextlib.contextmanager
def explain_read_errors(source: Source) -> Iterator[None]:
    """Convert errors on reading or decompressing a source into a TextError."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TextError(f"{source.name}: is not a complete gzip file ({error}); compress it again") from error
    except OSError as error:
        raise TextError(f"{source.name}: cannot be read: {error.strerror or error}") from error


def read_text(
    sources: Sequence[Source],
    encoding: str,
    *,
    notes: list[str] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Iterator[str]:
    """Yield the text of the sources in chunks, with a line end between sources.

    Args:
        sources: what to read.
        encoding: a codec's name, or RAW.
        notes: receives what a user should know: that CRLF line ends became LF.
        advance: told how many more bytes were read, packed ones where they are packed.

    Raises:
        TextError: naming the line and byte offset of what is not in this encoding, with a guess at the right one.
        OptionError: for an unknown encoding.
    """
    last = "\n"
    line_ends = _LineEnds()
    for source in sources:
        if last != "\n":
            last = "\n"
            yield "\n"
        chunks = _decode(source, encoding, advance)
        if encoding != RAW:
            chunks = line_ends.unified(chunks)
        if source.num_bytes is not None:
            chunks = _whole_parts(chunks, source.separator)
        for text in chunks:
            if text:
                last = text[-1]
                yield text
    if line_ends.num_crlf and notes is not None:
        notes.append(f"{line_ends.num_crlf:,} CRLF line ends became LF")


class _LineEnds:
    """Converts CRLF line ends to LF and counts them."""

    def __init__(self) -> None:
        self.num_crlf = 0

    def unified(self, chunks: Iterator[str]) -> Iterator[str]:
        """Yield the chunks of one source."""
        carriage_return = ""
        for chunk in chunks:
            text = carriage_return + chunk
            carriage_return = ""
            if "\r" not in text:  # fast path for most texts
                yield text
                continue
            if text.endswith("\r"):
                text, carriage_return = text[:-1], "\r"
            self.num_crlf += text.count("\r\n")
            yield text.replace("\r\n", "\n")
        if carriage_return:
            yield carriage_return


def _whole_parts(chunks: Iterator[str], separator: str) -> Iterator[str]:
    """Yield a truncated text up to about its last separator, or all of it if it is a single part.

    Very long lines are divided into several parts, of which only the last one may be omitted.
    """
    held = ""
    num_yielded = 0
    for text in whole_lines(chunks, separator=separator):
        if held:
            yield held
            num_yielded += 1
        held = text
    if held and (not num_yielded or held.endswith(separator)):
        yield held


def _decode(source: Source, encoding: str, advance: Callable[[int], None] | None) -> Iterator[str]:
    decoder = _decoder(encoding)
    num_read = num_lines = position = 0
    with explain_read_errors(source), source.open() as file:
        as_stored: Any = getattr(file, "fileobj", file)  # the compressed bytes of a gzip file
        while True:
            left = CHUNK_BYTES if source.num_bytes is None else source.num_bytes - position
            chunk = file.read(min(CHUNK_BYTES, left)) if left > 0 else b""
            if num_read == 0 and encoding != RAW:
                _refuse_binary(source, chunk, encoding)
            offset = num_read - len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk and source.num_bytes is None)
            except UnicodeDecodeError as error:
                raise _encoding_error(source, encoding, error, offset, num_lines) from error
            except UnicodeError as error:
                raise TextError(
                    f"{source.name}: is not {encoding.upper()} ({error}); try another --encoding"
                ) from error
            if offset == 0 and encoding != RAW and text.startswith("\ufeff"):
                text = text[1:]
            num_read += len(chunk)
            num_lines += text.count("\n")
            before, position = position, num_read if as_stored is file else as_stored.tell()
            if advance is not None and chunk:
                advance(position - before)
            yield text
            if not chunk:
                return


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    if encoding == RAW:
        return codecs.getincrementaldecoder("utf-8")("surrogateescape")
    try:
        codec = codecs.lookup(encoding)
        "".encode(encoding)
    except LookupError:
        raise OptionError(
            f"--encoding: found {encoding!r}, which is not a known text encoding; use one such as utf-8, cp1252 or utf-16"
        ) from None
    return codec.incrementaldecoder("strict") if codec.incrementaldecoder else _buffered_decoder(codec)


def _buffered_decoder(codec: Any) -> codecs.IncrementalDecoder:
    class Buffered(codecs.BufferedIncrementalDecoder):
        def _buffer_decode(self, data: Any, errors: str, final: bool) -> tuple[str, int]:
            return codec.decode(bytes(data), errors) if final else ("", 0)

    return Buffered("strict")


def _refuse_binary(source: Source, head: bytes, encoding: str) -> None:
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")) if encoding != RAW else True
    if wide:
        return
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TextError(f"{source.name}: begins with a UTF-16 byte-order mark, not {encoding}: pass --encoding utf-16")
    if head.startswith(b"\x1f\x8b"):
        raise TextError(f"{source.name}: is gzip data; rename it to end in .gz")
    offset = head.find(b"\0")
    if offset >= 0:
        raise TextError(
            f"{source.name}: is binary (a zero byte at offset {offset}), not text; "
            "name a text file (models made with --tokenizer byte take any file)"
        )


def _encoding_error(source: Source, encoding: str, error: UnicodeDecodeError, offset: int, num_lines: int) -> TextError:
    data, start = bytes(error.object), error.start
    line = num_lines + data[:start].count(b"\n") + 1
    try:
        data[:CHUNK_BYTES].decode("cp1252")
        guess = "cp1252"
    except UnicodeDecodeError:
        guess = "latin-1"
    advice = f"it looks like {guess}: pass --encoding {guess}" if encoding != guess else "try another --encoding"
    return TextError(
        f"{source.name}:{line}: byte 0x{data[start]:02x} at offset {offset + start} is not {encoding.upper()}; {advice}"
    )


def sha256_of(source: Source, advance: Callable[[int], None] | None = None) -> tuple[int, str]:
    """Return the size and the SHA-256 of the bytes on disk that are read of a source."""
    assert source.path is not None, "standard input is spooled before it is hashed"
    digest = hashlib.sha256()
    left = sys.maxsize if source.num_bytes is None else source.num_bytes
    num_bytes = 0
    with explain_read_errors(source), source.path.open("rb") as file:
        while chunk := file.read(min(CHUNK_BYTES, left - num_bytes)):
            digest.update(chunk)
            num_bytes += len(chunk)
            if advance is not None:
                advance(len(chunk))
    return num_bytes, digest.hexdigest()


def whole_lines(chunks: Iterator[str], longest: int = 1 << 20, separator: str = "\n") -> Iterator[str]:
    """Regroup chunks so that each ends at a line end, or before white space where a line is longer than `longest`.

    Args:
        separator: the line end.
    """
    held: list[str] = []
    held_length = 0
    for chunk in chunks:
        end = chunk.rfind(separator) + len(separator)
        if end >= len(separator):
            yield "".join([*held, chunk[:end]])
            held, held_length = [], 0
        else:
            end = 0
        rest = chunk[end:]
        held.append(rest)
        held_length += len(rest)
        if held_length > longest:
            text = "".join(held)
            cut = text.rfind(" ")
            cut = cut if cut > 0 else len(text)
            yield text[:cut]
            held, held_length = [text[cut:]], len(text) - cut
    if held_length:
        yield "".join(held)


def white_space_first(chunks: Iterator[str]) -> Iterator[str]:
    """Regroup chunks so that white space at the end of a chunk starts the next one, except for the last chunk."""
    held = ""
    for chunk in chunks:
        text = held + chunk
        stripped = text.rstrip()
        if stripped:
            yield stripped
        held = text[len(stripped) :]
    if held:
        yield held


def lines(chunks: Iterator[str]) -> Iterator[str]:
    """Yield each line without its line end; a final line end does not start another line."""
    held: list[str] = []
    for chunk in chunks:
        first, *others = chunk.split("\n")
        held.append(first)
        if others:
            yield "".join(held)
            yield from others[:-1]
            held = [others[-1]]
    if last := "".join(held):
        yield last


def documents(chunks: Iterator[str]) -> Iterator[str]:
    """Yield each run of lines between blank lines, without its final line end."""
    held: list[str] = []
    for line in lines(chunks):
        if line.strip():
            held.append(line)
        elif held:
            yield "\n".join(held)
            held = []
    if held:
        yield "\n".join(held)
