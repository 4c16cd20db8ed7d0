"""Tables of texts: CSV and TSV files whose first line names the columns."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from charnn.errors import TextError


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
    header = next((line for _, line in numbered), None)
    if header is None or not header.strip():
        raise TextError(f"{name}: found no header; the first line of a table names its columns")
    delimiter = "\t" if "\t" in header else ";" if header.count(";") > header.count(",") else ","
    if delimiter == "\t":
        is_quoted = all(cell.startswith('"') and cell.endswith('"') for cell in header.split("\t"))
        columns = [_unquoted(cell, is_quoted=is_quoted) for cell in header.split("\t")]
        cells: Iterator[tuple[int, list[str]]] = (
            (number, [_unquoted(cell, is_quoted=is_quoted) for cell in line.split("\t")]) for number, line in numbered
        )
    else:
        (columns,) = csv.reader([header], delimiter=delimiter)
        cells = _csv_rows(name, numbered, delimiter)
    if len(set(columns)) < len(columns):
        raise TextError(f"{name}:1: found a column twice in {', '.join(columns)}; give each a name of its own")
    return Table(name, columns, _rows(name, columns, cells, delimiter))


def _unquoted(cell: str, *, is_quoted: bool) -> str:
    """Return a cell without the quotes that a program has added; it doubles the quotes inside."""
    inner = cell[1:-1]
    was_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if was_quoted and (is_quoted or '""' in inner) else cell


def _csv_rows(name: str, numbered: Iterator[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    last = 1

    def lines() -> Iterator[str]:
        nonlocal last
        for number, line in numbered:
            last = number
            yield line + "\n"

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        first = last + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise TextError(f"{name}:{first}: is not CSV ({error}); double the quotes within a quoted cell") from error
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
            separators = {"\t": "tabs", ";": "semicolons", ",": "commas"}[delimiter]
            hint = "" if delimiter == "\t" else f", and quote a cell that holds {separators}"
            raise TextError(
                f"{name}:{line}: found {len(cells)} where the header has {len(columns)} columns; separate them by "
                f"{separators}{hint}"
            )
        yield Row(line, dict(zip(columns, cells, strict=True)))
