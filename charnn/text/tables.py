"""Tables of texts: CSV and TSV files whose first line names the columns."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from charnn.errors import TextError
from charnn.text.sources import PACKED_SUFFIXES

TABLE_SUFFIXES = (".csv", ".tsv", ".tab")
MAX_CELL_CHARS = 1 << 24
HEAD_CHARS, HEAD_ROWS = 1 << 16, 10
"""The beginning of a text that shows whether it is a table: characters, and rows below the header."""
_COLUMN_NAME = re.compile(r"[^\W\d_][\w ()\[\]/%#.-]{0,39}")


class Row(NamedTuple):
    """A row of a table: the line that it starts on, from 1, and its cells by column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table that is read row by row.

    Args:
        name: of the file, for messages.
        columns: in order.
        rows: without the header; blank lines are none.
    """

    name: str
    columns: Sequence[str]
    rows: Iterator[Row]


class UnclosedCellError(TextError):
    """A quoted cell is not closed at the end of a table."""


def read_table(name: str, lines: Iterable[str]) -> Table:
    """Read a CSV or TSV file.

    Columns are separated by tabs if the header has any, otherwise by semicolons if it has more of them than commas. In a CSV
    file, cells may be quoted (RFC 4180) and hold line ends; in a TSV file, quotes are part of the text, unless a program has
    evidently added them.

    Args:
        lines: without line ends.

    Raises:
        TextError: naming the line that has too few or too many cells, or the column that the header has twice.
    """
    numbered = ((number, line) for number, line in enumerate(lines, start=1))
    first_line, header = next(numbered, (1, None))
    excel_separator = re.fullmatch("sep=(.)", header or "")  # for Excel only, which writes it before the header
    if excel_separator:
        first_line, header = next(numbered, (2, None))
    if header is None or not header.strip():
        raise TextError(f"{name}: found no header; the first line of a table names its columns")
    usual = "\t" if "\t" in header else ";" if header.count(";") > header.count(",") else ","
    delimiter = excel_separator[1] if excel_separator else usual
    if delimiter == "\t":
        is_quoted = all(cell.startswith('"') and cell.endswith('"') for cell in header.split("\t"))
        columns = [_unquoted(cell, is_quoted=is_quoted) for cell in header.split("\t")]
        cells: Iterator[tuple[int, list[str]]] = (
            (number, [_unquoted(cell, is_quoted=is_quoted) for cell in line.split("\t")]) for number, line in numbered
        )
    else:
        cells = _csv_rows(name, chain([(first_line, header)], numbered), delimiter)
        _, columns = next(cells)
    if len(set(columns)) < len(columns):
        raise TextError(
            f"{name}:{first_line}: found a column twice in {', '.join(columns)}; give each a name of its own"
        )
    return Table(name, columns, _rows(name, columns, cells, delimiter))


def _unquoted(cell: str, *, is_quoted: bool) -> str:
    """Return a cell without the quotes that a program has added; it doubles the quotes inside."""
    inner = cell[1:-1]
    was_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if was_quoted and (is_quoted or '""' in inner) else cell


def _csv_rows(name: str, numbered: Iterator[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for number, line in numbered:
            last = number
            yield line + "\n"

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        first = last + 1
        usual_limit = csv.field_size_limit(MAX_CELL_CHARS)  # the module's own limit is that of the whole process
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise UnclosedCellError(
                    f"{name}:{first}: found a quoted cell that is not closed; add the closing quote, or double the quotes "
                    "within the cell"
                ) from error
            if "field limit" in str(error):
                raise TextError(
                    f"{name}:{first}: found a cell of more than {MAX_CELL_CHARS:,} characters; close its quotes, or divide it"
                ) from error
            raise TextError(f"{name}:{first}: is not CSV ({error}); double the quotes within a quoted cell") from error
        finally:
            csv.field_size_limit(usual_limit)
        if cells is None:
            return
        yield first, cells


def _rows(
    name: str, columns: Sequence[str], cells_by_line: Iterator[tuple[int, list[str]]], delimiter: str
) -> Iterator[Row]:
    for line, cells in cells_by_line:
        if not any(cells):
            continue
        if len(cells) != len(columns):
            separators = {"\t": "tabs", ";": "semicolons", ",": "commas"}.get(delimiter, repr(delimiter))
            hint = "" if delimiter == "\t" else f", and quote a cell that holds {separators}"
            raise TextError(
                f"{name}:{line}: found {len(cells)} where the header has {len(columns)} columns; separate them by "
                f"{separators}{hint}"
            )
        yield Row(line, dict(zip(columns, cells, strict=True)))


def check_columns(table: Table, wanted: Sequence[str]) -> None:
    """Raise TextError if a table lacks a column, naming those that it has and the most similar one."""
    for column in wanted:
        if column not in table.columns:
            near = get_close_matches(column, table.columns, n=1) or [
                name for name in table.columns if name.strip().lower() == column.strip().lower()
            ]
            shown = [repr(name) if name != name.strip() else name for name in near]
            advice = f"did you mean {shown[0]}?" if shown else "name one of these"
            raise TextError(f"{table.name}:1: found the columns {', '.join(table.columns)}, but no {column}; {advice}")


def joined(before: str, after: str) -> str:
    """Return two texts as one, with a space between them where neither has white space there."""
    touches = before and after and not before[-1].isspace() and not after[0].isspace()
    return before + (" " if touches else "") + after


def has_table_suffix(name: str) -> bool:
    """Return whether a name ends like that of a table, which may be compressed."""
    path = Path(name)
    return (path.with_suffix("") if path.suffix in PACKED_SUFFIXES else path).suffix.lower() in TABLE_SUFFIXES


def columns_of(name: str, head: str) -> Sequence[str] | None:
    """Return the columns of a text that is evidently a table, and None for any other text.

    It is one by the suffix of its name, or if all of its first rows have as many cells as the first line has column names:
    cells that begin with a letter, are short, and follow a comma, semicolon or tab without a space.

    Args:
        head: the beginning of the text.
    """
    lines = head[:HEAD_CHARS].removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if len(head) >= HEAD_CHARS and len(lines) > 1:
        del lines[-1]
    try:
        table = read_table(name, lines)
        if has_table_suffix(name):
            return table.columns
        num_rows = len(list(islice(table.rows, HEAD_ROWS)))
    except TextError:
        return None
    first, *others = table.columns
    are_names = bool(others) and all(map(_is_column_name, [*others, *([first] if first else [])]))
    return table.columns if are_names and num_rows and len(others) + bool(first) > 1 else None


def _is_column_name(cell: str) -> bool:
    return _COLUMN_NAME.fullmatch(cell) is not None and not cell.endswith((" ", ".", "-"))
