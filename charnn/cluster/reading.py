"""The units of one part of a text, read from its own bytes where the file allows it."""

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from charnn.cluster.plan import Part, Plan, PlannedFile
from charnn.config import ScoreOptions
from charnn.errors import TextError
from charnn.text.decoding import RAW
from charnn.text.located import LocatedText, Origin, ScoredInput, read_cells, read_located
from charnn.text.sources import Source, explained
from charnn.text.tokenizers import Tokenizer, text_encoding

BYTE_ORDER_MARK = "\ufeff"


def part_texts(plan: Plan, part: Part, paths: Sequence[Path], tokenizer: Tokenizer) -> Iterator[LocatedText]:
    """Yield the units of a part, each with its origin.

    Args:
        paths: of the plan's files, on this machine.

    Raises:
        TextError: if a file is missing, or is not as it was when the plan was made.
    """
    options = plan.score_options
    num_left, number, num_before, offset = part.num_units, part.file, part.num_before, part.offset
    while num_left:
        file, path = plan.files[number], paths[number]
        count = min(num_left, file.num_units - num_before)
        if count:
            check_stamp(file, path)
            if file.is_seekable:
                yield from _seekable_lines(file, path, number, num_before, count, offset or 0, tokenizer, options)
            else:
                yield from _units_of(file, path, number, num_before, count, tokenizer, options)
            check_stamp(file, path)
        num_left, number, num_before, offset = num_left - count, number + 1, 0, 0


def check_stamp(file: PlannedFile, path: Path) -> None:
    """Raise TextError if a file is missing, or has another size or modification time than the plan says."""
    with explained(Source(file.name, path)):
        status = path.stat()
    if (status.st_size, status.st_mtime_ns) != (file.num_bytes, file.changed_ns):
        raise TextError(f"{file.name}: changed since its parts were begun; remove them (OUT.part*), and score it anew")


def _seekable_lines(
    file: PlannedFile,
    path: Path,
    number: int,
    num_before: int,
    count: int,
    offset: int,
    tokenizer: Tokenizer,
    options: ScoreOptions,
) -> Iterator[LocatedText]:
    """Yield lines from an offset on. The whole file was decoded for the plan, so that it has no errors."""
    is_raw = text_encoding(tokenizer, options.encoding) == RAW
    errors, newline = ("surrogateescape", "\n") if is_raw else ("strict", None)
    with explained(Source(file.name, path)), path.open("rb") as stored:
        stored.seek(offset)
        lines = io.TextIOWrapper(stored, encoding="utf-8", errors=errors, newline=newline)
        for index, line in enumerate(itertools.islice(lines, count)):
            text = line.removeprefix(BYTE_ORDER_MARK) if not (index or offset or is_raw) else line
            yield LocatedText(text.removesuffix("\n"), Origin(file.name, number, num_before + index + 1))


def _units_of(
    file: PlannedFile,
    path: Path,
    number: int,
    num_before: int,
    count: int,
    tokenizer: Tokenizer,
    options: ScoreOptions,
) -> Iterator[LocatedText]:
    """Yield units of a file that is read from its beginning."""
    (group,) = _read(path, tokenizer, options).groups
    for index, text in enumerate(itertools.islice(group.texts(), num_before + count)):
        origin = group.next_origin()
        if index >= num_before:
            yield LocatedText(text, replace(origin, file=file.name, file_number=number))


def _read(path: Path, tokenizer: Tokenizer, options: ScoreOptions) -> ScoredInput:
    if options.column:
        return read_cells([str(path)], options.column, by_region=options.by_region, encoding=options.encoding)
    return read_located([str(path)], tokenizer, unit=options.unit, encoding=options.encoding)
