"""Input text of a model: units to score, prompts to continue."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from charnn.config import ScoredUnit
from charnn.errors import TextError
from charnn.notices import notice_logger
from charnn.text.fasta_sources import sequences_of
from charnn.text.reading import documents, lines, read_text, whole_lines
from charnn.text.sources import Source, check_unchanged, display_name, find_sources
from charnn.text.tokenizers import Tokenizer, text_encoding

logger = notice_logger(__name__)


def read_units(
    files: Sequence[str],
    tokenizer: Tokenizer | None,
    *,
    unit: ScoredUnit,
    encoding: str,
    inspect: Callable[[Sequence[Source]], object] | None = None,
) -> Iterator[str]:
    """Yield the units of some texts: lines, documents, or pieces of one running text (stream, file) that end at line ends.

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
    chunks = _read_and_log(sources, encoding, separator="\n\n" if unit == "document" else "\n")
    cut = {"line": lines, "document": documents, "stream": whole_lines, "file": whole_lines}[unit]
    return cut(chunks)


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
    return _read_and_log(sequences_of(find_sources([file]), tokenizer), text_encoding(tokenizer, encoding))


def _read_and_log(sources: Sequence[Source], encoding: str, *, separator: str = "\n") -> Iterator[str]:
    notes: list[str] = []
    yield from read_text(sources, encoding, separator=separator, notes=notes)
    check_unchanged(sources)
    for note in notes:
        logger.info(note)
