"""Curves in a terminal.

The plotext package draws them too, but takes about fifty times as long to import as this module.
"""

from collections.abc import Sequence

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of the dots of a braille character, from top to bottom and left to right (Unicode, chapter 21)."""
_EMPTY = 0x2800


def curve(xs: Sequence[float], ys: Sequence[float], *, width: int, height: int) -> list[str]:
    """Draw a curve in braille dots, eight per character.

    Args:
        xs, ys: its points, at least one; xs in ascending order.
        width, height: in characters.
    """
    cells = [[_EMPTY] * width for _ in range(height)]
    columns = [_dot(x, xs[0], xs[-1], 2 * width - 1) for x in xs]
    rows = [_dot(y, max(ys), min(ys), 4 * height - 1) for y in ys]
    for column, row in _joined(columns, rows):
        cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    return ["".join(map(chr, line)) for line in cells]


def _dot(value: float, first: float, last: float, most: int) -> int:
    return 0 if first == last else round((value - first) / (last - first) * most)


def _joined(columns: list[int], rows: list[int]) -> list[tuple[int, int]]:
    """Return the points of the line segments between consecutive points, whose columns are in ascending order."""
    points = [(columns[0], rows[0])]
    for column, row in zip(columns[1:], rows[1:], strict=True):
        before, last = points[-1]
        steps = max(abs(column - before), abs(row - last), 1)
        points += [
            (before + round((column - before) * part / steps), last + round((row - last) * part / steps))
            for part in range(1, steps + 1)
        ]
    return points
