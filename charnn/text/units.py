"""Input text of a model: units to score, prompts to continue."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from charnn.config import ScoredUnit
from charnn.errors import TextError, first_of
from charnn.notices import notice_logger
from charnn.text.columns import Column, is_json_lines
from charnn.text.fasta_sources import sequences_of
from charnn.text.reading import documents, lines, read_text, whole_lines
from charnn.text.sources import Source, check_unchanged, display_name, find_sources
from charnn.text.tables import has_table_suffix
from charnn.text.tokenizers import Tokenizer, text_encoding
from charnn.text.tunes import tunes
from charnn.text.unit_kinds import separator_of
from charnn.text.vocabulary import UNKNOWN

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
    if tokenizer is not None and tokenizer.kind == "bins":
        sources = [replace(source, holds_numbers=True) for source in sources]
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


def read_series(file: str, tokenizer: Tokenizer, *, column: str | None, trained_on: str | None, encoding: str) -> str:
    """Return the numbers of a file, - for standard input: of a table or JSON lines, those of a column.

    Args:
        column: to read; None for the one that the model was trained on, if the file is a table.
        trained_on: that column; None where it was plain numbers.

    Raises:
        TextError: naming the line of what is no number, or the file that has none.
    """
    if Path(file).is_dir():
        raise TextError(f"{file}: is a directory; name a file")
    (source,) = find_sources([file])
    if column is None and trained_on is not None and (has_table_suffix(file) or is_json_lines(file, "")):
        column = trained_on
    if column is None:
        source = replace(source, holds_numbers=True)
    else:
        source = replace(source, column=Column(column, tokenizer.unit, holds_numbers=True))
    text = "".join(_read_and_log([source], text_encoding(tokenizer, encoding))).removesuffix("\n")
    if all(word == UNKNOWN for word in text.split()):
        raise TextError(f"{display_name(file)}: contains no number to continue; write some, or leave --prompt-file out")
    return text


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
    sources = [replace(source, holds_numbers=tokenizer.kind == "bins") for source in find_sources([file])]
    return _read_and_log(sequences_of(sources, tokenizer), text_encoding(tokenizer, encoding))


def _read_and_log(sources: Sequence[Source], encoding: str) -> Iterator[str]:
    notes: list[str] = []
    return _and_log(notes, _read_and_check(sources, encoding, notes=notes))


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
