"""Text as a stream of chunks: several sources one after the other, and chunks regrouped into lines and documents."""

from collections.abc import Callable, Iterator, Sequence

from charnn.text.decoding import decoded
from charnn.text.sources import Source


def read_text(
    sources: Sequence[Source],
    encoding: str,
    *,
    separator: str = "\n",
    notes: list[str] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Iterator[str]:
    """Yield the sources' text in chunks, one source after the other.

    Args:
        sources: what to read.
        encoding: a codec's name, or RAW.
        separator: of line ends, with as many of which each source but the last ends at least.
        notes: receives what a user should know (see `decoded`).
        advance: called with the number of bytes read since the last call.

    Raises:
        TextError: for what is not text in this encoding.
        OptionError: for an unknown encoding.
    """
    end = separator
    for source in sources:
        missing = len(separator) - (len(end) - len(end.rstrip("\n")))
        if missing > 0 and end:
            end = separator
            yield "\n" * missing
        chunks = decoded(source, encoding, notes=notes, advance=advance)
        if source.num_bytes is not None:
            chunks = _whole_parts(chunks, source.separator)
        for text in chunks:
            if text:
                end = (end + text)[-len(separator) :]
                yield text


def _whole_parts(chunks: Iterator[str], separator: str) -> Iterator[str]:
    """Yield a text that was cut short up to its last separator or near it, and if it comes in one part, all of it.

    A line that is very long comes in several parts, of which only the last one of the text may be left out.
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
        separator: what to take for a line end.
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
    """Regroup chunks so that white space at a chunk's end begins the next one; the last chunk keeps its own."""
    held = ""
    for chunk in chunks:
        text = held + chunk
        kept = text.rstrip()
        if kept:
            yield kept
        held = text[len(kept) :]
    if held:
        yield held


def lines(chunks: Iterator[str]) -> Iterator[str]:
    """Yield each line without its line end; a text's final line end opens no further line."""
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
    """Yield each run of lines between blank ones, without its final line end."""
    held: list[str] = []
    for line in lines(chunks):
        if line.strip():
            held.append(line)
        elif held:
            yield "\n".join(held)
            held = []
    if held:
        yield "\n".join(held)
