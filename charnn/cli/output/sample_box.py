"""A sample in a box that is redrawn in place, so that each of its rows must be as wide as it is taken to be.

Terminals disagree about the widths of some characters, and a row that is too wide takes up two.
"""

import unicodedata

from rich.panel import Panel
from rich.text import Text

from charnn.cli.output import console

BORDERS = 4
NARROWEST = 16
"""Fewest columns of a box that is made narrower for characters whose width is uncertain; below, they are replaced."""
_LEFT_OUT = {0x200C, 0x200D, *range(0xFE00, 0xFE10), *range(0x1F3FB, 0x1F400), *range(0xE0100, 0xE01F0)}
"""Joiners, variation selectors and skin tones, which change the width of what is before them on some terminals only."""
_FLAG_LETTERS = {0x1F1E6 + number: chr(ord("A") + number) for number in range(26)}
_PLAIN = dict.fromkeys(_LEFT_OUT) | _FLAG_LETTERS | {ord("\t"): " "}


def sample_box(text: str, *, step: int, width: int, max_lines: int) -> Panel:
    """Return a box with a sample, its first lines only.

    Args:
        step: of training, for the title.
        width: columns of the terminal.
    """
    lines = [steady_line(line) for line in text.split("\n")[:max_lines]]
    box_width = _safe_width(lines, width)
    if box_width < NARROWEST:
        lines, box_width = (
            ["".join("·" if _has_uncertain_width(each) else each for each in line) for line in lines],
            width,
        )
    title = f"sample at step {step:,}"
    return Panel(
        Text("\n".join(lines)),
        title=title if len(title) + BORDERS + 2 <= box_width else "sample",  # a long title makes the box wider
        title_align="left",
        border_style="dim",
        width=box_width,
    )


def steady_line(text: str) -> str:
    """Return a line without the characters that terminals combine, with tabs as spaces and control characters visible."""
    return console.visible_line(text.translate(_PLAIN))


def _safe_width(lines: list[str], width: int) -> int:
    """Return the greatest width of a box that stays within a terminal even if all uncertain characters are wider."""
    terminal = console.error_console()
    box_width = width
    while box_width > BORDERS:
        rows = [row.plain for line in lines for row in Text(line).wrap(terminal, box_width - BORDERS)]
        if max(sum(map(_has_uncertain_width, row)) for row in rows) <= width - box_width:
            break
        box_width -= 1
    return box_width


def _has_uncertain_width(character: str) -> bool:
    """Return whether some terminals make a character one column wider: vowel signs beside a letter, and symbols."""
    category = unicodedata.category(character)
    return category == "Mc" or (category == "So" and console.cell_width(character) < 2)
