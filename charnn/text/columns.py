"""The text of one column of a table (CSV, TSV), or of one field of JSON lines.

Each cell is text of its own. In a stream its line ends are kept and one follows it; with lines it is one line, in which line
ends become spaces; with documents it is one document, without its blank lines.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from charnn.config import Unit
from charnn.errors import TextError, first_of
from charnn.text.bins import check_numbers
from charnn.text.characters import characters_only
from charnn.text.label_marks import MARK, as_label, marked
from charnn.text.sources import PACKED_SUFFIXES
from charnn.text.tables import UnclosedCellError, check_columns, read_table
from charnn.text.vocabulary import UNKNOWN

JSON_SUFFIXES = (".jsonl", ".ndjson")
CHUNK_CHARS = 1 << 20
MOST_NAMED = 8


class Column(NamedTuple):
    """A column of a table, or a field of JSON objects.

    Args:
        name: of the column.
        unit: decides what becomes of line ends in cells.
        label: name of the column of labels, with which cells are marked (see `labels`); None for none.
        holds_numbers: whether anything but numbers is an error; an empty cell of a stream is a missing one.
    """

    name: str
    unit: Unit
    label: str | None = None
    holds_numbers: bool = False


class _Cell(NamedTuple):
    """A text, the line that it is in, from 1, and its label, if cells have labels."""

    line: int
    text: str
    label: str = ""


def column_text(name: str, lines: Iterator[str], column: Column, *, is_cut: bool) -> Iterator[str]:
    """Yield the text of a column in chunks, with a line end after each cell, or a blank line after documents.

    Args:
        name: of the file, for messages.
        lines: of the file, without line ends.
        column: to read.
        is_cut: whether the file is only read up to some line, in which a quoted cell may go on.

    Raises:
        TextError: naming the line that is no row, or the file that has no such column.
    """
    as_unit = _AS_UNIT[column.unit]
    gathered: list[str] = []
    num_chars = 0
    for cell in _cells(name, lines, column, is_cut=is_cut):
        if column.holds_numbers:
            check_numbers(f"{name}:{cell.line}", cell.text, column.name, column.unit)
            cell = cell._replace(text=cell.text.strip() or (UNKNOWN if column.unit == "stream" else ""))
        if MARK in cell.text:
            raise TextError(
                f"{name}:{cell.line}: found a NUL character in {column.name}, which is not allowed in text; remove it"
            )
        text = as_unit(characters_only(cell.text))
        gathered.append(text if column.label is None else _labelled(name, cell, text, column.label))
        num_chars += len(gathered[-1])
        if num_chars >= CHUNK_CHARS:
            yield "".join(gathered)
            gathered, num_chars = [], 0
    if gathered:
        yield "".join(gathered)


def _labelled(name: str, cell: _Cell, text: str, column: str) -> str:
    """Return a unit after its label, between two NUL characters; a blank one is left out. Raises TextError."""
    if not text.strip():
        return ""
    label = as_label(cell.label)
    if not label:
        raise TextError(
            f"{name}:{cell.line}: found no label in {column}, but each row with a text needs one; fill it in, or remove the row"
        )
    return marked(label) + text


def _as_lines(cell: str) -> str:
    return cell.removesuffix("\n") + "\n" if cell else ""


def _as_line(cell: str) -> str:
    line = re.sub(r"\n+", " ", cell.strip("\n"))
    return line + "\n" if line else ""


def _as_document(cell: str) -> str:
    document = "\n".join(line for line in cell.split("\n") if line.strip())
    return document + "\n\n" if document else ""


_AS_UNIT: dict[Unit, Callable[[str], str]] = {
    "stream": _as_lines,
    "line": _as_line,
    "document": _as_document,
    "tune": _as_document,
}


def is_json_lines(name: str, first_line: str) -> bool:
    """Return whether a file holds JSON lines, by its name or its first line."""
    path = Path(name)
    suffix = (path.with_suffix("") if path.suffix in PACKED_SUFFIXES else path).suffix.lower()
    return suffix in JSON_SUFFIXES or first_line.lstrip().startswith("{")


def fields_of(name: str, head: str) -> list[str] | None:
    """Return the fields of the first object of a text that is evidently JSON lines; None for any other text."""
    first_line = head.lstrip("\ufeff \n").partition("\n")[0]
    if not is_json_lines(name, first_line):
        return None
    try:
        found = json.loads(first_line)
    except (ValueError, RecursionError):
        return None
    return list(found) if isinstance(found, dict) else None


def _cells(name: str, lines: Iterator[str], column: Column, *, is_cut: bool) -> Iterator[_Cell]:
    first = next(lines, "")
    lines = _with_first(first, lines)
    if is_json_lines(name, first):
        yield from _json_cells(name, lines, column)
        return
    table = read_table(name, lines)
    check_columns(table, [column.name] if column.label is None else [column.name, column.label])
    try:
        for row in table.rows:
            yield _Cell(row.line, row.cells[column.name], row.cells[column.label] if column.label else "")
    except UnclosedCellError:
        if not is_cut:
            raise


def _with_first(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _json_cells(name: str, lines: Iterator[str], column: Column) -> Iterator[_Cell]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where, of_numbers = f"{name}:{number}", column.holds_numbers
            kind = "number" if of_numbers else "text"
            text = _field(where, line, column.name, kind=kind, may_be_number=of_numbers)
            label = _field(where, line, column.label, may_be_number=True) if column.label and text.strip() else ""
            yield _Cell(number, text.replace("\r\n", "\n").replace("\r", "\n"), label)


def _field(where: str, line: str, field: str, *, kind: str = "text", may_be_number: bool = False) -> str:
    """Return a field of an object, empty if it is null."""
    wanted = f"each line must be an object with a {kind} in {field}"
    found = json_object(where, line, wanted)
    if field not in found:
        raise TextError(
            f"{where}: found the fields {first_of(list(found) or ['(none)'], MOST_NAMED)}, but no {field}; {wanted}"
        )
    value = found[field]
    if value is None:
        return ""
    if may_be_number and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        found_kind = _KINDS.get(type(value), "a number")
        raise TextError(f"{where}: found {found_kind} in {field}, but {wanted}, or null to leave it out")
    return value


def json_object(where: str, line: str, wanted: str) -> dict[str, Any]:
    """Return the object of a line. Raises TextError, which says what is wanted."""
    try:
        found: Any = json.loads(line)
    except RecursionError:
        raise TextError(f"{where}: is nested too deeply; {wanted}") from None
    except ValueError as error:
        found = f"{error.msg}: column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise TextError(f"{where}: is not JSON ({found}); {wanted}") from error
    if not isinstance(found, dict):
        raise TextError(f"{where}: found {_KINDS.get(type(found), 'a number')}, but {wanted}")
    return found


_KINDS = {list: "a list", dict: "an object", str: "a text", bool: "true or false", type(None): "null"}
