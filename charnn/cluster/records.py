"""What writes the records of a part, and the headings and totals around those of all parts."""

from collections.abc import Callable
from typing import Protocol

from charnn.cluster.plan import Plan
from charnn.files import LineFile, to_json
from charnn.scoring.format_choice import format_of
from charnn.scoring.scores import Score
from charnn.text.located import Origin


class Records(Protocol):
    """Writes records to a file."""

    def begin(self) -> None:
        """Write the headings."""
        ...

    def add(self, score: Score, origin: Origin) -> None:
        """Write the record of a unit."""
        ...

    def finish(self, total: Score, num_units: int) -> None:
        """Write the totals."""
        ...


OpenRecords = Callable[[Plan, LineFile], Records]
"""Opens what writes the records of a plan; a function of a module, which processes on other machines import."""


class FormatRecords:
    """Records in one of the formats of `charnn.scoring`.

    Args:
        plan: names the format among its options.
        file: receives the lines.
    """

    def __init__(self, plan: Plan, file: LineFile) -> None:
        name = ", ".join(plan.asked)
        self._format = format_of(plan.score_options, name, num_files=len(plan.files), kept=plan.kept)
        self._file = file

    def begin(self) -> None:
        """See `Records`."""
        for line in self._format.begin():
            self._file.write_line(line)

    def add(self, score: Score, origin: Origin) -> None:
        """See `Records`."""
        for line in self._format.lines(score, origin):
            self._file.write_line(line if isinstance(line, str) else to_json(line))

    def finish(self, total: Score, num_units: int) -> None:
        """See `Records`."""
        for line in self._format.end(total, num_units):
            self._file.write_line(line)
