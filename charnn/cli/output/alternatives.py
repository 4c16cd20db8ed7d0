"""Each token of a sample with the likeliest ones in its place, in rows as wide as the terminal."""

import math
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console

if TYPE_CHECKING:
    from rich.text import Text

    from charnn.sampling.streams import Sample

BOUNDS = ((0.5, "green"), (0.2, "cyan"), (0.05, "yellow"), (0.01, "dark_orange"), (0.0, "red"))
"""Least probability and colour."""
EXPLANATION = "top row: what was written, and its probability; below: the likeliest in its place"
PROBABILITY_WIDTH = 4
GAP = 2

Cell = list[tuple[str, float, bool]]
"""A drawn token, then the likeliest ones: what is shown of each, its probability, whether it was drawn."""


def colour_of(prob: float) -> str:
    """Return the colour of a token by its probability."""
    return next(colour for bound, colour in BOUNDS if prob >= bound)


def legend() -> "Text":
    """Return a line that says what the colours mean."""
    line = console.new_text("probability: ")
    for bound, colour in BOUNDS:
        line.append(f"from {bound:g}" if bound else "below", style=colour)
        line.append("  ")
    return line


class AlternativesView:
    """Lays cells out in rows, each shown once it is full.

    Args:
        tokens: the vocabulary.
        width: columns of the terminal.
    """

    def __init__(self, tokens: tuple[str, ...], width: int) -> None:
        self._tokens, self._width = tokens, width
        self._cells: list[Cell] = []
        self._num_taken = 0

    def take(self, drawn: "Sample") -> "list[Text]":
        """Return the rows that the sample has filled since it was last taken; the rest once it has ended."""
        rows: list[Text] = []
        for place in range(self._num_taken, len(drawn.alternatives)):
            id = drawn.ids[place] if place < len(drawn.ids) else None
            likeliest = drawn.alternatives[place]
            cell: Cell = [(self._shown(id), math.exp(drawn.log_probs_nats[place]), True)]
            cell += [(self._shown(other), math.exp(nats), other == id) for other, nats in likeliest]
            if sum(map(_width, [*self._cells, cell])) > self._width and self._cells:
                rows.append(self._row())
            self._cells.append(cell)
        self._num_taken = len(drawn.alternatives)
        if drawn.ended is not None and self._cells:
            rows.append(self._row())
        return rows

    def _shown(self, id: int | None) -> str:
        return "end" if id is None else console.visible(charnn.api.as_text(self._tokens[id]))

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
                shown, prob, is_drawn = cell[line]
                style = f"bold {colour_of(prob)}" if line == 0 else ("underline " if is_drawn else "") + "dim"
                figure = f"{prob:.2f}".removeprefix("0") if prob < 0.995 else "1.0"
                row.append(shown, style=style)
                room -= console.cell_width(shown) + len(figure) + 1
                row.append(" " + figure, style="" if line == 0 else "dim")
                row.append(" " * room)
            row.append("\n")
        return row


def _width(cell: Cell) -> int:
    return max(console.cell_width(shown) for shown, _, _ in cell) + PROBABILITY_WIDTH + GAP
