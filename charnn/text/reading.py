"""Text as a stream of chunks: the concatenation of sources, and its division into lines and documents."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from charnn.text.bins import checked_lines
from charnn.text.columns import column_text
from charnn.text.decoding import decoded
from charnn.text.fasta import Record, fasta_text
from charnn.text.sources import Source

Text = TypeVar("Text")


def read_text(
    sources: Sequence[Source],
    encoding: str,
    *,
    separator: str = "\n",
    notes: list[str] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Iterator[str]:
    """Yield the text of the sources in chunks, one source after the other.

    Args:
        sources: what to read.
        encoding: a codec's name, or RAW.
        separator: line ends that are added at least between two sources.
        notes: receives messages to the user (see `decoded`).
        advance: called with the number of bytes read since the last call.

    Raises:
        TextError: for bytes that are not text in this encoding.
        OptionError: for an unknown encoding.
    """
    end = separator
    for source in sources:
        missing = len(separator) - (len(end) - len(end.rstrip("\n")))
        if missing > 0 and end:
            end = separator
            yield "\n" * missing
        for text in checked(source, source_text(source, encoding, notes=notes, advance=advance)):
            if text:
                end = (end + text[-len(separator) :])[-len(separator) :]
                yield text


def source_text(
    source: Source,
    encoding: str,
    *,
    notes: list[str] | None = None,
    advance: Callable[[int], None] | None = None,
    records: deque[Record] | None = None,
) -> Iterator[str]:
    """Yield the text of one source in chunks: all of it, a column of a table, or the sequences of FASTA.

    Args:
        notes, advance: see `read_text`.
        records: receives each record of FASTA before its sequence is yielded.
    """
    is_cut = source.num_bytes is not None
    chunks = decoded(source, encoding, notes=notes, advance=advance)
    if is_cut:
        chunks = _whole_parts(chunks, source.separator if source.column is None else "\n")
    if source.fasta is not None:
        return fasta_text(source.name, chunks, source.fasta, is_cut=is_cut, notes=notes, records=records)
    if source.column is not None:
        return column_text(source.name, lines(chunks), source.column, is_cut=is_cut)
    return chunks


def checked(source: Source, chunks: Iterator[str]) -> Iterator[str]:
    """Yield the text of a source in chunks. Raises TextError for anything but numbers in a source that must hold them alone."""
    return checked_lines(source.name, whole_lines(chunks)) if source.holds_numbers else chunks


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


def begun(texts: Iterator[Text]) -> Iterator[Text] | None:
    """Return the same texts after the first one was read, so that errors in it come before long work; None without a text.

    Example:
        >>> charnn.api.begun(iter([])) is None
        True
    """
    for first in texts:
        return chain([first], texts)
    return None


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
    return (text for _, text in numbered_documents(chunks))


def numbered_documents(chunks: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Yield each document with the number of its first line, from 1."""
    held: list[str] = []
    first = 1
    for number, line in enumerate(lines(chunks), start=1):
        if line.strip():
            first = first if held else number
            held.append(line)
        elif held:
            yield first, "\n".join(held)
            held = []
    if held:
        yield first, "\n".join(held)
