"""Decoding of bytes: encodings, byte-order marks, line ends, and errors for files that are not text."""

import codecs
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from charnn.errors import OptionError, TextError
from charnn.text.encodings import guess_encoding
from charnn.text.file_kinds import HEAD_BYTES, encoding_by_mark, kind_of, wide_encoding
from charnn.text.sources import OpenedSource, Source, has_grown, opened

CHUNK_BYTES = 1 << 20
RAW = "raw bytes"
"""Pseudo-encoding for raw bytes: undecodable bytes become surrogates, which encode to the same bytes."""
DEFAULT = "utf-8"
NOT_OF_TEXTS = ("idna", "punycode")
"""Codecs of Python for host names."""


def decoded(
    source: Source, encoding: str, *, notes: list[str] | None = None, advance: Callable[[int], None] | None = None
) -> Iterator[str]:
    """Yield the text of a source in chunks, with LF line ends.

    Args:
        encoding: name of a codec, or RAW. A byte-order mark of UTF-16 or UTF-32 overrides UTF-8.
        notes: receives messages to the user.
        advance: called with the number of (compressed) bytes read since the last call.

    Raises:
        TextError: for bytes that are not text in this encoding; it names the line, and the right encoding if it is certain.
        OptionError: for an unknown encoding.
    """
    if source.stamp is None:  # can be read only once
        yield from _decoded(source, encoding, notes, advance, _LineCounter())
        return
    try:
        yield from _decoded(source, encoding, notes, advance, None)
    except _UncountedLinesError:
        for _ in _decoded(source, encoding, None, None, _LineCounter()):
            pass  # up to the error
        raise TextError(
            f"{source.name}: changed while it was read; run the command again when nothing writes to it"
        ) from None


class _UncountedLinesError(Exception):
    """There is an error in a line whose number is not known."""


def _decoded(
    source: Source,
    encoding: str,
    notes: list[str] | None,
    advance: Callable[[int], None] | None,
    lines: "_LineCounter | None",
) -> Iterator[str]:
    """See `decoded`.

    Args:
        lines: counts line ends for error messages; if None, which is faster, errors are _UncountedLinesError.
    """
    if encoding == RAW:
        with opened(source, unpacks=False) as text:
            yield from (chunk for chunk, _ in _decoded_chunks(source, text, RAW, _decoder(RAW), None, advance))
        return
    _decoder(encoding)
    line_ends = _LineEnds()
    with opened(source) as text:
        head = _head(source, text)
        encoding = _by_mark(source, head, encoding, notes)
        _refuse_other_kinds(source, head, encoding)
        removes_mark = codecs.lookup(encoding).name in ("utf-8-sig", "utf-16", "utf-32")
        for chunk, is_first in _decoded_chunks(source, text, encoding, _decoder(encoding), lines, advance):
            chunk = chunk.removeprefix("\ufeff") if is_first and not removes_mark else chunk
            if "\0" in chunk:
                if lines is None:
                    raise _UncountedLinesError
                lines.add(chunk[: chunk.index("\0")])
                raise TextError(
                    f"{source.name}:{lines.num_ended + 1}: found a NUL character, which is not allowed in text; "
                    f"remove all of them with tr -d '\\000', or train with --tokenizer byte"
                )
            yield line_ends.unified(chunk)
        if source.num_bytes is None:  # otherwise an LF may follow the cut
            yield line_ends.rest()
    if notes is not None:
        notes += line_ends.notes()


def _head(source: Source, text: OpenedSource) -> bytes:
    """Return the first bytes of a text, which is not read."""
    head: bytes = text.file.peek(HEAD_BYTES)[:HEAD_BYTES] if hasattr(text.file, "peek") else b""
    if b"\0" in head and len(head) < HEAD_BYTES and source.stamp is not None:
        with opened(source) as again:  # the first of several compressed parts may be short
            return again.file.read(HEAD_BYTES)
    return head


def _decoded_chunks(
    source: Source,
    text: OpenedSource,
    encoding: str,
    decoder: codecs.IncrementalDecoder,
    lines: "_LineCounter | None",
    advance: Callable[[int], None] | None,
) -> Iterator[tuple[str, bool]]:
    """Yield decoded chunks, and whether each is the first.

    Args:
        lines: counts the line ends of the chunks before the one that was yielded last (see `_decoded`).
    """
    num_read = position = 0
    is_cut = source.num_bytes is not None
    while True:
        chunk = text.file.read(CHUNK_BYTES)
        offset = num_read - len(decoder.getstate()[0])
        try:
            decoded_text = decoder.decode(chunk, final=not chunk and not is_cut)
        except UnicodeDecodeError as error:
            if not chunk and has_grown(source):
                return  # the last character was not completely written yet
            if lines is None:
                raise _UncountedLinesError from error
            lines.add(_text_before(error, encoding, decoder))
            raise _encoding_error(source, encoding, error, offset, lines.num_ended + 1) from error
        except UnicodeError as error:
            raise TextError(f"{source.name}: is not {encoding.upper()} ({error}); try another --encoding") from error
        yield decoded_text, num_read == 0
        num_read += len(chunk)
        if lines is not None:
            lines.add(decoded_text)
        before, position = position, num_read if text.stored is text.file else text.stored.tell()
        if advance is not None and chunk:
            advance(position - before)
        if not chunk:
            return


def _by_mark(source: Source, head: bytes, encoding: str, notes: list[str] | None) -> str:
    """Return the encoding of the byte-order mark if UTF-8 was expected, else the expected encoding."""
    marked = encoding_by_mark(head)
    if marked is None or codecs.lookup(encoding).name != DEFAULT:
        return encoding
    if notes is not None:
        notes.append(f"{source.name}: has a byte-order mark and is read as {marked.upper()}")
    return marked


def _in_a_command(source: Source) -> str:
    """Return a source's name as a shell takes it."""
    return "FILE" if source.path is None else shlex.quote(source.name)


def _refuse_other_kinds(source: Source, head: bytes, encoding: str) -> None:
    """Raise TextError for a file of another kind than text."""
    kind = kind_of(head)
    if kind is not None:
        remedy = kind.remedy.format(name=_in_a_command(source)) or "name a text file"
        raise TextError(f"{source.name}: is {kind.name}, not text; {remedy}")
    if b"\0" not in head or codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return
    wide = wide_encoding(head)
    if wide is not None:
        raise TextError(f"{source.name}: is {wide.upper()} without a byte-order mark: pass --encoding {wide}")
    raise TextError(
        f"{source.name}: is binary (a zero byte at offset {head.index(0)}), not text; "
        "name a text file (models made with --tokenizer byte take any file)"
    )


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    if encoding == RAW:
        return codecs.getincrementaldecoder("utf-8")("surrogateescape")
    try:
        codec = codecs.lookup(encoding)
        if codec.name in NOT_OF_TEXTS:
            raise LookupError
        "".encode(encoding)
    except (LookupError, ValueError):  # ValueError: the name is not even a text
        raise OptionError(
            f"--encoding: found {encoding!r}, which is not a known text encoding; use one such as utf-8, cp1252 or utf-16"
        ) from None
    return codec.incrementaldecoder("strict") if codec.incrementaldecoder else _buffered_decoder(codec)


def _buffered_decoder(codec: Any) -> codecs.IncrementalDecoder:
    class Buffered(codecs.BufferedIncrementalDecoder):
        def _buffer_decode(self, data: Any, errors: str, final: bool) -> tuple[str, int]:
            return codec.decode(bytes(data), errors) if final else ("", 0)

    return Buffered("strict")


class _LineCounter:
    """Counts the line ends of a text that comes in chunks; CRLF is a single one."""

    def __init__(self) -> None:
        self.num_ended = 0
        self._ends_with_cr = False

    def add(self, text: str) -> None:
        """Take the next chunk."""
        if text:
            num_ended = text.count("\n") + text.count("\r") - text.count("\r\n")
            self.num_ended += num_ended - (self._ends_with_cr and text[0] == "\n")
            self._ends_with_cr = text[-1] == "\r"


def _text_before(error: UnicodeDecodeError, encoding: str, decoder: codecs.IncrementalDecoder) -> str:
    """Return the text before the invalid bytes that the decoder had not yet returned."""
    data = bytes(error.object)[: error.start]
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):  # the decoder knows the order of the bytes
        held = decoder.getstate()[0]
        return decoder.decode(data[len(held) :])
    return data.decode(encoding, "ignore")


def _encoding_error(source: Source, encoding: str, error: UnicodeDecodeError, offset: int, line: int) -> TextError:
    data, start = bytes(error.object), error.start
    where = f"{source.name}:{line}: byte 0x{data[start]:02x} at offset {offset + start} is not {encoding.upper()}"
    return TextError(f"{where}; {_advice(source, encoding, data, error)}")


_INCOMPLETE = ("unexpected end of data", "truncated data", "incomplete multibyte sequence")
"""Reasons of a codec for an error at the end of a text."""


def _advice(source: Source, encoding: str, data: bytes, error: UnicodeDecodeError) -> str:
    """Return how to proceed with bytes that cannot be decoded, as far as the text shows it."""
    is_utf_8 = codecs.lookup(encoding).name == DEFAULT
    if error.end == len(data) and error.reason in _INCOMPLETE:
        ending = "the file ends in the middle of a character"
        if is_utf_8:
            return f"{ending}, so it is incomplete; copy it again"
        return f"{ending}: copy it again if it is incomplete, or pass the --encoding of the text"
    if source.path is None or not is_utf_8:
        return "pass the --encoding of the text"
    with opened(source) as text:
        content = text.file.read(CHUNK_BYTES)
    whole_lines = content[: content.rfind(b"\n") + 1] or content
    num_good, num_bad = _lines_beyond_ascii(whole_lines)
    if num_good > num_bad:
        return (
            "other lines are UTF-8, so this one is damaged; correct it, or drop invalid bytes: "
            f"iconv -c -f utf-8 -t utf-8 {_in_a_command(source)} > corrected.txt"
        )
    guess = guess_encoding(whole_lines)
    if guess is None or not _decodes(source, guess):
        return "pass the --encoding of the text, such as cp1252, cp1251 or gbk"
    return f"it looks like {guess}: pass --encoding {guess}"


def _lines_beyond_ascii(content: bytes) -> tuple[int, int]:
    """Return the numbers of non-ASCII lines that are valid UTF-8 and that are not."""
    lines = [line for line in content.split(b"\n") if not line.isascii()]
    num_good = sum(line.decode("utf-8", "replace").encode("utf-8") == line for line in lines)
    return num_good, len(lines) - num_good


def _decodes(source: Source, encoding: str) -> bool:
    """Return whether the whole source can be decoded."""
    decoder = _decoder(encoding)
    with opened(source) as text:
        try:
            while chunk := text.file.read(CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
    return True


class _LineEnds:
    """Converts CRLF and CR line ends to LF and counts them."""

    def __init__(self) -> None:
        self._held = ""
        self._num_crlf = self._num_cr = 0

    def unified(self, chunk: str) -> str:
        """Return a chunk with LF line ends; a CR at its end is held back, since an LF may follow."""
        text = self._held + chunk
        self._held = ""
        if "\r" not in text:  # fast path for most texts
            return text
        if text.endswith("\r"):
            text, self._held = text[:-1], "\r"
        num_crlf = text.count("\r\n")
        text = text.replace("\r\n", "\n")
        self._num_crlf, self._num_cr = self._num_crlf + num_crlf, self._num_cr + text.count("\r")
        return text.replace("\r", "\n")

    def rest(self) -> str:
        """Return the line end that was held back, at the end of the text."""
        held, self._held = self._held, ""
        self._num_cr += len(held)
        return "\n" * len(held)

    def notes(self) -> list[str]:
        """Return messages about the conversions."""
        counted = ((self._num_crlf, "CRLF"), (self._num_cr, "CR"))
        return [f"{number:,} {name} line ends became LF" for number, name in counted if number]
