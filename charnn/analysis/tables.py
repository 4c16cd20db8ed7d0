"""Results of an analysis as tables, which the terminal, JSON Lines and pages show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from charnn.files import JsonObject

Value = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table of values.

    Args:
        name: of the table, as records name it, such as "units".
        caption: what the values are, with their unit, in one sentence without a full stop.
        columns: their names, as records have them, such as "median_norm".
        rows: the values of each row, None where there is none.

    Example:
        >>> from charnn.analysis.tables import Table
        >>> table = Table("gates", "Fraction of open gates", ("gate", "open"), [("input", 0.25)])
        >>> list(table.records())
        [{'table': 'gates', 'gate': 'input', 'open': 0.25}]
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]

    def records(self) -> Iterator[JsonObject]:
        """Yield a record for each row."""
        for row in self.rows:
            yield {"table": self.name, **dict(zip(self.columns, row, strict=True))}

    def headings(self) -> list[str]:
        """Return the names of the columns in words."""
        return [column.replace("_", " ") for column in self.columns]


class Inspection(Protocol):
    """The result of an inspection."""

    def tables(self) -> Sequence[Table]:
        """Return its figures, for people; the arrays are in its fields."""
        ...


def in_words(value: Value) -> str:
    """Return a value as a cell of a table: numbers with four significant digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value
