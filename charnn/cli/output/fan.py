"""The fan chart of a forecast in a terminal: the last values, and bands in which the next ones are expected."""

import math
from collections.abc import Sequence

WIDE, NARROW, LINE, KNOWN = "░", "▒", "━", "•"
LABEL_WIDTH = 9
FORECAST_FRACTION = 0.6
"""At most this fraction of the chart is the forecast."""
MOST_COLUMNS_A_STEP = 3


def fan_chart(
    history: Sequence[float], quantiles: Sequence[Sequence[float]], *, decimals: int, width: int, height: int
) -> list[str]:
    """Return the lines of a chart.

    Args:
        history: the last values, NaN where one is missing.
        quantiles: five of each step: the wide band, the narrow band and the median, in ascending order (T, 5).
        decimals: of the labels.
        width, height: in characters; three lines are added below, and the width includes the labels.
    """
    room = max(8, width - LABEL_WIDTH)
    per_step = max(1, min(MOST_COLUMNS_A_STEP, int(room * FORECAST_FRACTION) // len(quantiles)))
    columns = [_mean_of(group) for group in _groups(quantiles, max(1, room - room // 4))]
    per_group = per_step if len(columns) == len(quantiles) else 1
    num_known = min(len(history), max(1, (room - per_group * len(columns)) // per_step))
    known = list(history[len(history) - num_known :])
    bounds = [value for value in known if not math.isnan(value)] + [value for column in columns for value in column]
    low, high = min(bounds), max(bounds)

    def row_of(value: float) -> int:
        return 0 if high == low else round((high - value) / (high - low) * (height - 1))

    cells = [[" "] * (per_step * num_known + per_group * len(columns)) for _ in range(height)]
    for number, value in enumerate(known):
        if not math.isnan(value):
            cells[row_of(value)][per_step * number] = KNOWN
    first = per_step * num_known
    for number, column in enumerate(columns):
        at = [row_of(value) for value in column]
        for place in range(first + per_group * number, first + per_group * (number + 1)):
            for row in range(at[4], at[0] + 1):
                cells[row][place] = LINE if row == at[2] else NARROW if at[3] <= row <= at[1] else WIDE
    rows = (0, height // 2, height - 1) if high > low else (0,)
    labels = {row: shown(high - (high - low) * row / max(1, height - 1), decimals, LABEL_WIDTH - 2) for row in rows}
    lines = [f"{labels.get(row, ''):>{LABEL_WIDTH - 2}} ┤{''.join(cells[row]).rstrip()}" for row in range(height)]
    return [*lines, *_axis(first, len(cells[0]), num_known, len(quantiles))]


def shown(value: float, decimals: int, width: int) -> str:
    """Return a number with so many decimals, or as a whole number, or with as many digits as fit into a width."""
    for text in (f"{value:.{decimals}f}", f"{value:.0f}" if abs(value) >= 1 else ""):
        if text and len(text) <= width:
            return text
    return f"{value:.{max(1, width - 6)}g}"


def _groups(quantiles: Sequence[Sequence[float]], most: int) -> list[Sequence[Sequence[float]]]:
    """Return consecutive steps that share a column, in at most so many groups."""
    size = math.ceil(len(quantiles) / most)
    return [quantiles[first : first + size] for first in range(0, len(quantiles), size)]


def _mean_of(group: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*group, strict=True)]


def _axis(first: int, width: int, num_known: int, num_steps: int) -> list[str]:
    """Return the horizontal axis: how many values are known, where the forecast begins, and how many steps it has."""
    line = " " * (LABEL_WIDTH - 1) + "└" + "─" * first + "┬" + "─" * max(0, width - first - 1)
    left, right = f"{1 - num_known}", f"+{num_steps}"
    numbers = left.ljust(first)[:first] + "+1"
    numbers = numbers.ljust(width - len(right)) + right if width - len(right) > len(numbers) else numbers
    legend = f"{KNOWN} known  {LINE} median  {NARROW} half of the samples  {WIDE} nine tenths of them"
    return [line, " " * LABEL_WIDTH + numbers, " " * LABEL_WIDTH + legend]
