"""The records of one part of a text, and the headings and totals around those of all parts."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output.score_output import ScoreOutput, note_uncounted, noun_of

if TYPE_CHECKING:
    from charnn.cluster.plan import Plan
    from charnn.files import LineFile
    from charnn.scoring.scores import Score
    from charnn.text.located import Origin


class PartLines:
    """Lines of a file, as `Lines` writes them.

    Args:
        file: open for writing.
    """

    is_file = True

    def __init__(self, file: "LineFile") -> None:
        self._file = file
        self.write = file.write_line

    def write_parts(self, parts: Iterable[str]) -> None:
        """Write a line in parts."""
        for part in parts:
            self._file.write(part)
        self._file.write("\n")


class PartOutput:
    """Writes what `charnn score` would write, in parts.

    Args:
        plan: what is scored, and how.
        file: receives the lines.
    """

    def __init__(self, plan: "Plan", file: "LineFile") -> None:
        self._plan = plan
        self._output = ScoreOutput(
            plan.score_options,
            name=", ".join(plan.asked),
            num_files=len(plan.files),
            kept=plan.kept,
            lines=PartLines(file),
            width=plan.width,
        )

    def begin(self) -> None:
        """Write the headings."""
        self._output.begin()

    def add(self, score: "Score", origin: "Origin") -> None:
        """Write the record of a unit, without headings before the first one."""
        self._output.begin(with_headings=False)
        self._output.add(score, origin)

    def finish(self, total: "Score", num_units: int) -> None:
        """Write the totals, after what makes them doubtful, as far as the model can be read here."""
        note_uncounted(total)
        model = Path(self._plan.models[0])
        if charnn.api.is_model(model):
            tokenizer = charnn.api.read_model(model).tokenizer
            charnn.api.report_unknown(total, self._plan.score_options, tokenizer, "this text")
        options = self._plan.score_options
        protocol = charnn.api.protocol_in_words(
            options, num_units, noun=noun_of(options), reads_backward=self._plan.reads_backward
        )
        self._output.finish(total, protocol, num_units, None)
