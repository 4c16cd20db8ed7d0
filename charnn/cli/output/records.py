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
    if not cells:
        return
    widths = [max(console.cell_width(row[column]) for row in cells) for column in range(len(cells[0]))]
    is_number = [all(_is_number(row[column]) for row in cells[1:]) for column in range(len(cells[0]))]
    for number, row in enumerate(cells):
        parts = [
            " " * (width - console.cell_width(cell)) + cell if right else console.padded(cell, width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        yield "  ".join(parts).rstrip()
        if number == 0:
            yield "─" * (sum(widths) + 2 * (len(widths) - 1))


def _is_number(cell: str) -> bool:
    return not cell or cell[-1:].isdigit() or cell.endswith("%")
