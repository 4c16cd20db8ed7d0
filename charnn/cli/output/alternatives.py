"""Each token of a sample with the most probable alternatives, in rows as wide as the terminal."""

import math
from typing import TYPE_CHECKING

from charnn.cli.output import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from charnn.sampling.streams import Sample

BOUNDS = ((0.5, "green"), (0.2, "cyan"), (0.05, "yellow"), (0.01, "dark_orange"), (0.0, "red"))
"""Least probability, and color."""
EXPLANATION = "top row: selected tokens, probabilities; below: the most probable tokens"
PROBABILITY_WIDTH = 4
MARGIN = 2

Cell = list[tuple[str, float, bool]]
"""The selected token, then the most probable ones: the text shown, the probability, whether it is the selected one."""


def color_of(prob: float) -> str:
    """Return the color of a token by its probability."""
    return next(color for bound, color in BOUNDS if prob >= bound)


def legend() -> "Text":
    """Return the legend of the colors."""
    line = console.new_text("probability: ")
    for bound, color in BOUNDS:
        line.append(f"from {bound:g}" if bound else "below", style=color)
        line.append("  ")
    return line


class AlternativesView:
    """Lays out cells in rows, each shown once it is full.

    Args:
        tokens: the texts of those of the vocabulary.
        width: columns of the terminal.
    """

    def __init__(self, tokens: "Sequence[str]", width: int) -> None:
        self._tokens, self._width = tokens, width
        self._cells: list[Cell] = []
        self._num_taken = 0

    def take(self, sample: "Sample") -> "list[Text]":
        """Return the rows that are full since the last call; once the sample has ended, also the last row."""
        rows: list[Text] = []
        for position in range(self._num_taken, len(sample.alternatives)):
            id = sample.ids[position] if position < len(sample.ids) else None
            most_probable = sample.alternatives[position]
            cell: Cell = [(self._shown(id), math.exp(sample.log_probs_nats[position]), True)]
            cell += [(self._shown(other), math.exp(nats), other == id) for other, nats in most_probable]
            if sum(map(_width, [*self._cells, cell])) > self._width and self._cells:
                rows.append(self._row())
            self._cells.append(cell)
        self._num_taken = len(sample.alternatives)
        if sample.ended is not None and self._cells:
            rows.append(self._row())
        return rows

    def _shown(self, id: int | None) -> str:
        return "end" if id is None else console.visible(self._tokens[id])

    def _row(self) -> "Text":
        cells, self._cells = self._cells, []
        row = console.new_text()
        row.no_wrap, row.overflow = True, "crop"
        for line in range(max(map(len, cells))):
            for cell in cells:
                room = _width(cell)
                if line >= len(cell):
                    row.append(" " * room)
                    continue
                shown, prob, is_selected = cell[line]
                style = f"bold {color_of(prob)}" if line == 0 else ("underline " if is_selected else "") + "dim"
                shown_prob = f"{prob:.2f}".removeprefix("0") if prob < 0.995 else "1.0"
                row.append(shown, style=style)
                room -= console.cell_width(shown) + len(shown_prob) + 1
                row.append(" " + shown_prob, style="" if line == 0 else "dim")
                row.append(" " * room)
            row.append("\n")
        return row


def _width(cell: Cell) -> int:
    return max(console.cell_width(shown) for shown, _, _ in cell) + PROBABILITY_WIDTH + MARGIN
