"""Rows of values as a table, as tab-separated values or as JSON records, on stdout or in a file."""

from collections.abc import Callable, Iterable, Sequence

import charnn
from charnn.cli.output import console
from charnn.cli.output.lines import Lines

Row = dict[str, object]


def write_rows(
    rows: Iterable[Row], *, form: str, output: str | None, title: str, shown: Callable[[Row], list[str]]
) -> None:
    """Write rows that all have the same keys.

    Args:
        form: "table", "tsv" or "jsonl".
        output: a file instead of stdout.
        title: of the table.
        shown: returns the cells of a row of the table.
    """
    with Lines(output) as lines:
        for line in _lines(list(rows), form=form, title=title, shown=shown):
            lines.write(line)


def _lines(rows: Sequence[Row], *, form: str, title: str, shown: Callable[[Row], list[str]]) -> Iterable[str]:
    if form == "jsonl":
        yield from (charnn.api.to_json(row) for row in rows)
    elif form == "tsv":
        if rows:
            yield "\t".join(rows[0])
        yield from (charnn.api.tab_separated(*row.values()) for row in rows)
    else:
        yield title
        yield from aligned([list(rows[0]), *map(shown, rows)] if rows else [])


def aligned(cells: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yield rows of cells as aligned columns, numbers on the right; the first row is the heading."""
    return _aligned(cells, num_headings=1)


def fitted(cells: Sequence[Sequence[str]], width: int) -> Iterable[str]:
    """Yield rows of cells as `aligned` does, in a width: with headings of several lines, or without the last columns."""
    headings, *rows = cells
    if _width(cells) <= width:
        yield from aligned(cells)
        return
    words = [heading.split() for heading in headings]
    height = max(map(len, words))
    stacked = [[(([""] * height + column)[-height:])[line] for column in words] for line in range(height)]
    every = [*stacked, *map(list, rows)]
    num_columns = len(headings)
    while num_columns > 1 and _width([row[:num_columns] for row in every]) > width:
        num_columns -= 1
    yield from _aligned([row[:num_columns] for row in every], num_headings=height)
    if num_columns < len(headings):
        left_out = ", ".join(headings[num_columns:])
        yield from console.wrapped(f"not shown for lack of width: {left_out}; --format jsonl prints all", width)


def _column_widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(console.cell_width, column)) for column in zip(*cells, strict=True)]


def _width(cells: Sequence[Sequence[str]]) -> int:
    """Return the width of aligned columns."""
    widths = _column_widths(cells)
    return sum(widths) + 2 * (len(widths) - 1)


def _aligned(cells: Sequence[Sequence[str]], *, num_headings: int) -> Iterable[str]:
    if not cells:
        return
    widths = _column_widths(cells)
    columns = list(zip(*cells, strict=True))
    is_number = [all(map(_is_number, column[num_headings:])) for column in columns]
    for number, row in enumerate(cells, start=1):
        parts = [
            " " * (width - console.cell_width(cell)) + cell if right else console.padded(cell, width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        yield "  ".join(parts).rstrip()
        if number == num_headings:
            yield "─" * _width(cells)


def _is_number(cell: str) -> bool:
    return not cell or cell[-1:].isdigit() or cell.endswith("%")
