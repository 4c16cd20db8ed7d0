"""Input text of a model: units to score, prompts to continue."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from charnn.config import ScoredUnit
from charnn.errors import TextError, first_of
from charnn.notices import notice_logger
from charnn.text.fasta_sources import sequences_of
from charnn.text.reading import documents, lines, read_text, whole_lines
from charnn.text.sources import Source, check_unchanged, display_name, find_sources
from charnn.text.tokenizers import Tokenizer, text_encoding
from charnn.text.tunes import tunes
from charnn.text.unit_kinds import separator_of

logger = notice_logger(__name__)


def read_units(
    files: Sequence[str],
    tokenizer: Tokenizer | None,
    *,
    unit: ScoredUnit,
    encoding: str,
    inspect: Callable[[Sequence[Source]], object] | None = None,
) -> Iterator[str]:
    """Yield the units of some texts: lines, documents, tunes, or segments of one running text that end at line ends.

    Args:
        files: names of files, directories and globs, or - for standard input.
        tokenizer: one of bytes wants them as they are; None for text in any case.
        inspect: called with what was found before it is read.
    """
    sources = find_sources(files, as_bytes=tokenizer is not None and tokenizer.kind == "byte")
    sources = sequences_of(sources, tokenizer, unit)
    if inspect is not None:
        inspect(sources)
    encoding = encoding if tokenizer is None else text_encoding(tokenizer, encoding)
    notes: list[str] = []
    chunks = _read_and_check(sources, encoding, separator=separator_of(unit), notes=notes)
    if unit == "tune":
        return _and_log(notes, tunes(chunks, first_of([source.name for source in sources]), notes))
    cut = {"line": lines, "document": documents, "stream": whole_lines, "file": whole_lines}[unit]
    return _and_log(notes, cut(chunks))


def read_prompt(file: str, tokenizer: Tokenizer, *, encoding: str) -> str:
    """Return the text of a file, - for standard input, without its final line end."""
    return "".join(_chunks(file, tokenizer, encoding)).removesuffix("\n")


def read_prompts(file: str, tokenizer: Tokenizer, *, encoding: str) -> list[str]:
    """Return the lines of a file, - for standard input, each a prompt.

    Raises:
        TextError: if there is none.
    """
    prompts = list(lines(_chunks(file, tokenizer, encoding)))
    if not prompts:
        raise TextError(f"{display_name(file)}: contains no line; write at least one")
    return prompts


def _chunks(file: str, tokenizer: Tokenizer, encoding: str) -> Iterator[str]:
    if Path(file).is_dir():
        raise TextError(f"{file}: is a directory; name a file")
    notes: list[str] = []
    sources = sequences_of(find_sources([file]), tokenizer)
    return _and_log(notes, _read_and_check(sources, text_encoding(tokenizer, encoding), notes=notes))


def _read_and_check(
    sources: Sequence[Source], encoding: str, *, separator: str = "\n", notes: list[str]
) -> Iterator[str]:
    yield from read_text(sources, encoding, separator=separator, notes=notes)
    check_unchanged(sources)


def _and_log(notes: list[str], texts: Iterator[str]) -> Iterator[str]:
    """Yield texts, and log the notes that were made while they were read."""
    yield from texts
    for note in notes:
        logger.info(note)
