"""JSON lines as a table: the fields of the first object are its columns."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from charnn.errors import TextError
from charnn.text.columns import is_json_lines, json_object
from charnn.text.tables import Row, Table, read_table

WANTED = "each line must be an object"


def read_any_table(name: str, lines: Iterator[str]) -> Table:
    """Read a CSV or TSV file (see `read_table`), or JSON lines.

    Args:
        lines: without line ends.

    Raises:
        TextError: naming the line that is no row, or no object.
    """
    first = next(lines, "")
    if not is_json_lines(name, first):
        return read_table(name, chain([first], lines))
    objects = (
        (number, json_object(f"{name}:{number}", line, WANTED))
        for number, line in enumerate(chain([first], lines), start=1)
        if line.strip()
    )
    number, fields = next(objects, (1, {}))
    if not fields:
        raise TextError(f"{name}:{number}: found no field; {WANTED} with its text in one of them")
    columns = list(fields)
    return Table(name, columns, _rows(columns, chain([(number, fields)], objects)))


def _rows(columns: list[str], objects: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[Row]:
    for number, fields in objects:
        yield Row(number, {column: _as_cell(fields.get(column)) for column in columns})


def _as_cell(value: object) -> str:
    """Return a text as it is, with its line ends as in files; nothing for null; and other values as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return json.dumps(value, ensure_ascii=False)
