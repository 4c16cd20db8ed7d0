"""The fan chart of a forecast as an SVG picture, which needs no library."""

import math
from collections.abc import Callable, Sequence

from charnn.cli.output.fan import shown

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 30, 40
MOST_KNOWN = 3
"""Known values that are drawn, for each step of the forecast, or 30 if it has fewer steps than that."""
NUM_TICKS = 5
INK, QUIET, BLUE = "#1b1b18", "#5a5a52", "#0072b2"

Points = Sequence[tuple[float, float]]


def fan_svg(history: Sequence[float], quantiles: Sequence[Sequence[float]], *, decimals: int) -> str:
    """Return a picture of the last values, the median, and the intervals that hold half and nine tenths of the samples.

    Args:
        history: the last values, NaN where one is missing.
        quantiles: five of each step, in ascending order (T, 5).
        decimals: of the values.
    """
    known = list(history[-MOST_KNOWN * max(10, len(quantiles)) :])
    values = [value for value in known if not math.isnan(value)] + [value for step in quantiles for value in step]
    ticks = _ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    first, last = 1 - len(known), len(quantiles)

    def point(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (step - first) / max(1, last - first) * (WIDTH - LEFT - RIGHT)
        return x, TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    steps = range(1, last + 1)
    parts = [
        *(_tick(point(first, tick)[1], shown(tick + 0.0, _decimals_of(ticks, decimals), 9)) for tick in ticks),
        *(_band(steps, quantiles, pair, opacity, point) for pair, opacity in (((0, 4), 0.2), ((1, 3), 0.35))),
        *(_line([point(step, value) for step, value in run], INK, 1.0) for run in _runs(first, known)),
        _line([point(step, values[2]) for step, values in zip(steps, quantiles, strict=True)], BLUE, 1.8),
        *(_label(point(step, low)[0], name) for step, name in _marks(first, last)),
        *_legend(),
    ]
    title = f"Forecast of {len(quantiles)} values"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="{QUIET}"><title>{title}</title>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers, evenly spaced, of which the first and the last enclose an interval."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / NUM_TICKS))
    size = next(power * factor for factor in (1, 2, 5, 10) if power * factor * NUM_TICKS >= span * 0.999)
    begin = math.floor(low / size)
    return [size * number for number in range(begin, max(math.ceil(high / size), begin + 1) + 1)]


def _decimals_of(ticks: Sequence[float], decimals: int) -> int:
    """Return the decimals that tell the ticks apart, as far as values have so many."""
    needed = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return min(needed, decimals + 1)


def _marks(first: int, last: int) -> list[tuple[int, str]]:
    marks = [(first, f"{first:+d}" if first else "0"), (last, f"+{last}")]
    return [*marks, (0, "last value")] if -first > (last - first) / 5 and last > (last - first) / 5 else marks


def _runs(first: int, values: Sequence[float]) -> list[list[tuple[int, float]]]:
    """Return the values with their steps, in parts between missing ones."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in enumerate(values, start=first):
        if math.isnan(value):
            runs.append([])
        else:
            runs[-1].append((step, value))
    return [run for run in runs if run]


def _path(points: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _line(points: Points, color: str, width: float) -> str:
    if len(points) == 1:
        ((x, y),) = points
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width + 1:g}" fill="{color}"/>'
    return f'<polyline points="{_path(points)}" fill="none" stroke="{color}" stroke-width="{width:g}" stroke-linejoin="round"/>'


def _band(
    steps: Sequence[int],
    quantiles: Sequence[Sequence[float]],
    pair: tuple[int, int],
    opacity: float,
    point: Callable[[float, float], tuple[float, float]],
) -> str:
    """Return the area between two quantiles; a single step is half a step wide on either side."""
    lower, upper = pair
    wide = [(step, values) for step, values in zip(steps, quantiles, strict=True)]
    spread = [(wide[0][0] - 0.5, wide[0][1]), *wide, (wide[-1][0] + 0.5, wide[-1][1])] if len(wide) == 1 else wide
    above = [point(step, values[upper]) for step, values in spread]
    below = [point(step, values[lower]) for step, values in reversed(spread)]
    return f'<polygon points="{_path([*above, *below])}" fill="{BLUE}" fill-opacity="{opacity:g}"/>'


def _tick(y: float, name: str) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{QUIET}" stroke-opacity="0.25"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    )


def _label(x: float, name: str) -> str:
    anchor = "start" if x < LEFT + 1 else "end" if x > WIDTH - RIGHT - 1 else "middle"
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="{anchor}">{name}</text>'


def _legend() -> list[str]:
    known = f'<line x1="{LEFT}" x2="{LEFT + 18}" y1="14" y2="14" stroke="{INK}"/>'
    median = f'<line x1="{LEFT + 80}" x2="{LEFT + 98}" y1="14" y2="14" stroke="{BLUE}" stroke-width="1.8"/>'
    boxes = [
        f'<rect x="{LEFT + x}" y="9" width="18" height="10" fill="{BLUE}" fill-opacity="{opacity}"/>'
        for x, opacity in ((170, 0.55), (270, 0.2))
    ]
    names = ((24, "known"), (104, "median"), (194, "25 to 75 %"), (294, "5 to 95 %"))
    return [known, median, *boxes, *(f'<text x="{LEFT + x}" y="18">{name}</text>' for x, name in names)]
