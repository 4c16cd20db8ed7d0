"""Texts to score, each with its origin: a line, a document, a file, or a cell of a table."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from charnn.config import ScoredUnit, Unit
from charnn.errors import TextError, first_of
from charnn.notices import notice_logger
from charnn.text.bins import check_numbers
from charnn.text.columns import fields_of
from charnn.text.decoding import decoded
from charnn.text.fasta import RECORD, Record
from charnn.text.fasta_sources import sequences_of
from charnn.text.json_tables import read_any_table
from charnn.text.reading import checked, lines, numbered_documents, read_text, source_text, whole_lines
from charnn.text.sources import Source, check_unchanged, find_sources
from charnn.text.tables import Row, Table, check_columns, columns_of, has_table_suffix, joined
from charnn.text.tokenizers import Tokenizer, text_encoding
from charnn.text.tunes import numbered_tunes
from charnn.text.vocabulary import UNKNOWN

logger = notice_logger(__name__)

MOST_NAMED = 8
"""Columns that a message names at most."""


class Region(NamedTuple):
    """A region of a sentence: its column, and its position in characters, without the white space around it."""

    column: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a text is from; the fields that do not apply to it are None or empty.

    Args:
        file: its name.
        file_number: position of the file among all, from 0.
        line: the line of the file on which it begins, from 1.
        row: of the table, from 1; the header and blank lines do not count.
        column: of the table.
        cells: the other cells of the row, by column.
        regions: of the sentence, in order.
    """

    file: str | None = None
    file_number: int = 0
    line: int | None = None
    row: int | None = None
    column: str | None = None
    cells: Mapping[str, str] = field(default_factory=dict)
    regions: Sequence[Region] = ()


class LocatedText(NamedTuple):
    """A unit, or a segment of a running text, and its origin."""

    text: str
    origin: Origin


class TextGroup:
    """Texts that are scored together; a scorer reads some of them before it yields the score of the first.

    Args:
        located: the units, or the segments of one running text.
        origin: of a running text; None for units, which have one each.
    """

    def __init__(self, located: Iterable[LocatedText], origin: Origin | None = None) -> None:
        self._located, self.running_origin = located, origin
        self._origins: deque[Origin] = deque()
        self._watch: Callable[[Iterator[str]], Iterator[str]] = iter

    def has_text(self) -> bool:
        """Return whether there is a text, and read the first one for this; to be called before `texts`."""
        located = iter(self._located)
        first = list(islice(located, 1))
        self._located = chain(first, located)
        return bool(first)

    def watched(self, watch: Callable[[Iterator[str]], Iterator[str]]) -> "TextGroup":
        """Let a function look at the texts, which it must yield; return the group."""
        self._watch = watch
        return self

    def texts(self) -> Iterator[str]:
        """Yield the texts."""
        return self._watch(self._texts())

    def _texts(self) -> Iterator[str]:
        for text, origin in self._located:
            if self.running_origin is None:
                self._origins.append(origin)
            yield text

    @property
    def latest_origin(self) -> Origin:
        """The origin of the text that was read last."""
        return self._origins[-1] if self.running_origin is None else self.running_origin

    def next_origin(self) -> Origin:
        """Return the origin of the next text that is scored."""
        return self._origins.popleft() if self.running_origin is None else self.running_origin


@dataclass(frozen=True)
class ScoredInput:
    """What is scored.

    Args:
        groups: one group, or one for each file that is a running text of its own.
        files: names of all files; empty for texts of the command line.
        kept: the other columns of the tables, or the names of records.

    Example:
        >>> (group,) = charnn.api.given_texts(["The fox slept."]).groups
        >>> list(group.texts())
        ['The fox slept.']
    """

    groups: Iterable[TextGroup]
    files: Sequence[str] = ()
    kept: Sequence[str] = ()

    def begun(self) -> "ScoredInput | None":
        """Return the same after its first text was read, so that errors in it come before long work; None without a text."""
        groups, before = iter(self.groups), []
        for group in groups:
            before.append(group)
            if group.has_text():
                return replace(self, groups=chain(before, groups))
        return None


def given_texts(texts: Sequence[str], *, is_running: bool = False) -> ScoredInput:
    """Return texts that are in no file.

    Args:
        is_running: whether they are the segments of one running text.

    Example:
        >>> charnn.api.given_texts(["The fox slept."]).files
        ()
    """
    origin = Origin()
    return ScoredInput([TextGroup([LocatedText(text, origin) for text in texts], origin if is_running else None)])


def read_located(
    files: Sequence[str],
    tokenizer: Tokenizer,
    *,
    unit: ScoredUnit,
    encoding: str,
    inspect: Callable[[Sequence[Source]], object] | None = None,
) -> ScoredInput:
    """Return the units of some files: lines, documents, tunes, whole files, or one running text.

    Args:
        files: names of files, directories and globs, or - for standard input.
        tokenizer: one of bytes wants them as they are.
        inspect: called with what was found before it is read.

    Example:
        >>> found = read_located(["book.txt"], model.tokenizer, unit="line", encoding="utf-8")
        >>> found.files
        ['book.txt']
    """
    found = find_sources(files, as_bytes=tokenizer.kind == "byte")
    found = [replace(source, holds_numbers=tokenizer.kind == "bins") for source in found]
    sources = sequences_of(found, tokenizer, unit)
    has_records = unit == "line" and any(source.fasta for source in sources)
    reader = _Reader(sources, text_encoding(tokenizer, encoding), notes_tables=not has_records)
    if inspect is not None:
        inspect(reader.sources)
    names = [source.name for source in reader.sources]
    if unit == "file":
        return ScoredInput(reader.running_files(), names)
    if unit == "stream":
        origin = Origin(names[0] if len(names) == 1 else None, line=1 if len(names) == 1 else None)
        return ScoredInput([TextGroup(reader.stream(origin), origin)], names)
    return ScoredInput([TextGroup(reader.units(unit))], names, [RECORD] if has_records else [])


def read_cells(
    files: Sequence[str], columns: Sequence[str], *, by_region: bool, encoding: str, numbers: Unit | None = None
) -> ScoredInput:
    """Return the cells of some columns of tables, each as a unit, or each row as a sentence of these regions.

    The regions are joined with a space where neither side has white space there. A cell without text is a region that the row
    lacks; a row that has none is left out.

    Args:
        files: CSV, TSV and JSON lines files that have the same columns.
        columns: in the order of the regions.
        numbers: the unit of a model of numbers; then anything else is an error, and an empty cell is a missing one.

    Raises:
        TextError: naming the file that lacks a column, or has other columns than the first one.

    Example:
        >>> _ = Path("items.csv").write_text("item,sentence\\n7,The fox slept.\\n")
        >>> charnn.api.read_cells(["items.csv"], ["sentence"], by_region=False, encoding="utf-8").kept
        ['item']
    """
    reader = _Reader(find_sources(files), encoding)
    tables = reader.tables()
    first = next(tables)
    check_columns(first[1], columns)
    cells = _Cells(first[1], columns, by_region=by_region, numbers=numbers)
    located = cells.of_tables(chain([first], tables))
    return ScoredInput([TextGroup(located)], [source.name for source in reader.sources], cells.kept)


class _Cells:
    """Reads columns of tables row by row.

    Args:
        first: the table whose columns all have.
        numbers: see `read_cells`.
    """

    def __init__(self, first: Table, columns: Sequence[str], *, by_region: bool, numbers: Unit | None) -> None:
        self.kept = [column for column in first.columns if column not in columns]
        self._first, self._columns, self._by_region = first, columns, by_region
        self._numbers = numbers
        self._num_empty, self._first_empty = 0, ""

    def of_tables(self, tables: Iterable[tuple[int, Table]]) -> Iterator[LocatedText]:
        """Yield the units of all tables.

        Raises:
            TextError: if they have none.
        """
        has_text = False
        for number, table in tables:
            if set(table.columns) != set(self._first.columns):
                raise TextError(
                    f"{table.name}:1: found the columns {', '.join(table.columns)}, but {self._first.name} has "
                    f"{', '.join(self._first.columns)}; score them one by one"
                )
            for row_number, row in enumerate(table.rows, start=1):
                kept = {column: row.cells[column] for column in self.kept}
                origin = Origin(table.name, number, row.line, row_number, cells=kept)
                for located in self._sentence(row, origin) if self._by_region else self._each_cell(row, origin):
                    has_text = True
                    yield located
        if not has_text:
            raise TextError(
                f"{self._first.name}: found no row with text in {', '.join(self._columns)}; write one per line"
            )
        if self._num_empty:
            found = (
                "a row without text, which is left out" if self._by_region else "an empty cell, scored as an empty text"
            )
            logger.info(f"{self._first_empty}: found {found}; {self._num_empty:,} in all")

    def _each_cell(self, row: Row, origin: Origin) -> Iterator[LocatedText]:
        for column in self._columns:
            text = row.cells[column]
            if self._numbers is not None:
                check_numbers(f"{origin.file}:{row.line}", text, column, self._numbers)
                text = text.strip() or UNKNOWN
            elif not text:
                self._count_empty(origin)
            yield LocatedText(text, replace(origin, column=column))

    def _sentence(self, row: Row, origin: Origin) -> Iterator[LocatedText]:
        sentence, regions = "", []
        for column in self._columns:
            core = row.cells[column].strip()
            if core:
                sentence = joined(sentence, row.cells[column])
                end = len(sentence.rstrip())
                regions.append(Region(column, end - len(core), end))
        if regions:
            yield LocatedText(sentence, replace(origin, regions=regions))
        else:
            self._count_empty(origin)

    def _count_empty(self, origin: Origin) -> None:
        self._num_empty += 1
        self._first_empty = self._first_empty or f"{origin.file}:{origin.line}"


def note_table(files: Sequence[str], encoding: str) -> None:
    """Log which text to train on is evidently a table: the first one that has the suffix of tables, or else the first file.

    Args:
        files: as named; directories, globs, pipes and standard input are not looked at.

    Example:
        >>> charnn.api.note_table(["book.txt"], "utf-8")
    """
    paths = [file for file in files if Path(file).is_file()]
    if not paths:
        return
    (source,) = find_sources([next(filter(has_table_suffix, paths), paths[0])])
    try:
        head = next(decoded(source, encoding), "")
    except TextError:  # reported where the text is read
        return
    if (fields := fields_of(source.name, head)) is not None:
        logger.info(
            f"{source.name}: holds JSON lines with the fields {first_of(fields, MOST_NAMED)}, and is read as plain text; "
            "to train on a field, name it with --column"
        )
    elif (columns := columns_of(source.name, head)) is not None:
        logger.info(
            f"{source.name}: looks like a table with the columns {first_of(columns, MOST_NAMED)}, and is read as plain text, "
            "header and separators included; to train on a column, name it with --column"
        )


class _Reader:
    """Reads sources once; notes for the user are logged at the end.

    Args:
        notes_tables: log the first source that is evidently a table, unless it is read as one.
    """

    def __init__(self, sources: Sequence[Source], encoding: str, *, notes_tables: bool = False) -> None:
        self.sources = sources
        self._encoding, self._notes_tables = encoding, notes_tables
        self._notes: list[str] = []

    def units(self, unit: ScoredUnit) -> Iterator[LocatedText]:
        """Yield the lines, documents or tunes of each source."""
        for number, source in enumerate(self.sources):
            records: deque[Record] = deque()
            chunks = self._chunks(source, records)
            for line, text in self._numbered(chunks, unit, source.name):
                record = records.popleft() if source.fasta else Record("", line)
                yield LocatedText(text, Origin(source.name, number, record.line, cells={RECORD: record.name}))
        self._finish()

    def _numbered(self, chunks: Iterator[str], unit: ScoredUnit, name: str) -> Iterator[tuple[int, str]]:
        """Yield each unit with the number of its first line, from 1."""
        if unit == "tune":
            return numbered_tunes(chunks, name, self._notes)
        return enumerate(lines(chunks), start=1) if unit == "line" else numbered_documents(chunks)

    def running_files(self) -> Iterator[TextGroup]:
        """Yield each source as a running text of its own."""
        for number, source in enumerate(self.sources):
            origin = Origin(source.name, number, 1)
            yield TextGroup((LocatedText(text, origin) for text in whole_lines(self._chunks(source))), origin)
        self._finish()

    def stream(self, origin: Origin) -> Iterator[LocatedText]:
        """Yield segments of the concatenation of all sources."""
        chunks = self._noted(self.sources[0], read_text(self.sources, self._encoding, notes=self._notes))
        for text in whole_lines(chunks):
            yield LocatedText(text, origin)
        self._finish()

    def tables(self) -> Iterator[tuple[int, Table]]:
        """Yield each source as a table, with its number; its rows must be read before the next one."""
        for number, source in enumerate(self.sources):
            yield number, read_any_table(source.name, lines(self._chunks(source)))
        self._finish()

    def _chunks(self, source: Source, records: deque[Record] | None = None) -> Iterator[str]:
        chunks = source_text(source, self._encoding, notes=self._notes, records=records)
        return checked(source, self._noted(source, chunks))

    def _noted(self, source: Source, chunks: Iterator[str]) -> Iterator[str]:
        """Yield chunks, after a note if the first one shows that the source is a table."""
        for number, chunk in enumerate(chunks):
            columns = columns_of(source.name, chunk) if self._notes_tables and not number else None
            if columns is not None:
                self._notes_tables = False
                logger.info(
                    f"{source.name}: looks like a table, and is scored as plain text, header and separators included; to score "
                    f"a column, add --column NAME ({first_of(columns, MOST_NAMED)})"
                )
            yield chunk

    def _finish(self) -> None:
        check_unchanged(self.sources)
        for note in self._notes:
            logger.info(note)
