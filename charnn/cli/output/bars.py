"""Tables of probabilities with bars."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charnn.cli.output import console

if TYPE_CHECKING:
    from rich.table import Table

BAR_WIDTH, WIDTH_OF_NUMBERS = 40, 36


def new_bar_table(first: str, second: str) -> "Table":
    """Return a table with a column of names, one at whose right side values stand, one of probabilities, and one of bars."""
    table = console.new_table()
    table.add_column(first, no_wrap=True)
    table.add_column(second, justify="right", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True, min_width=len("probability"))
    table.add_column("")
    return table


def add_bar(table: "Table", cells: Sequence[str], prob: float) -> None:
    """Add a row."""
    bar_width = max(4, min(BAR_WIDTH, console.output_console().width - WIDTH_OF_NUMBERS))
    table.add_row(*cells, f"{prob:.6f}", "█" * round(bar_width * prob))
