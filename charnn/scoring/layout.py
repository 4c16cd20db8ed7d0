"""The fields of a record that say where its text is from, beside those of its score."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from charnn.config import ScoreOptions
from charnn.files import JsonObject
from charnn.text.located import Origin

ORIGIN_FIELDS = ("file", "file_line")
RENAMED = "table_"
"""Prefix of a table's column that has the name of one of charnn's own fields."""


@dataclass(frozen=True)
class Layout:
    """Which fields stand before and after those of a score.

    Args:
        kept: the names in the output of the other columns of a table.
        is_table: whether the texts are cells, whose rows are numbered; otherwise the units are.
        has_column: whether the column of a cell is named.
        has_file: whether the file and the line in it are named.
    """

    kept: Mapping[str, str] = field(default_factory=dict)
    is_table: bool = False
    has_column: bool = False
    has_file: bool = False

    @property
    def names_before(self) -> list[str]:
        """Names of the fields before those of a score."""
        return [*self.kept.values(), "row" if self.is_table else "line", *(["column"] if self.has_column else [])]

    @property
    def names_after(self) -> list[str]:
        """Names of the fields after those of a score."""
        return list(ORIGIN_FIELDS) if self.has_file else []

    def before(self, origin: Origin, number: int) -> JsonObject:
        """Return the fields before those of a score.

        Args:
            number: of the unit among all.
        """
        values = [*(origin.cells[column] for column in self.kept), origin.row if self.is_table else number]
        return dict(zip(self.names_before, [*values, *([origin.column] if self.has_column else [])], strict=True))

    def after(self, origin: Origin) -> JsonObject:
        """Return the fields after those of a score."""
        return {"file": origin.file, "file_line": origin.line} if self.has_file else {}


PLAIN = Layout()


def layout_of(options: ScoreOptions, *, num_files: int, kept: Sequence[str], own: Collection[str]) -> Layout:
    """Return the layout of records: JSON names the file of each, TSV only if there are several.

    Args:
        num_files: number of files; 0 for texts of the command line.
        kept: the other columns of the tables.
        own: names of the fields of a score.
    """
    has_column = len(options.column) > 1 and not options.by_region
    has_file = num_files > (options.format != "jsonl" and options.unit != "file")
    taken = {*own, "row", *ORIGIN_FIELDS, *(["column"] if has_column else [])}
    names: dict[str, str] = {}
    for column in kept:
        name = column
        while name in taken or (name != column and name in kept):
            name = RENAMED + name
        names[column] = name
    return Layout(names, bool(options.column), has_column, has_file)
