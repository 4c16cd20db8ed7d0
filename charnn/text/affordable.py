"""How much of a text can be read within the time budget, measured on its beginning."""

import time
from collections.abc import Callable

READING_FRACTION = 0.25
"""Fraction of the time budget for reading; counting n-grams may take another tenth."""
ALWAYS_READ = 1 << 20
"""Bytes that are read in any case; texts of up to twice this size need no measurement."""
SLOWEST_SPEED = 100_000
"""Bytes per second of the slowest machine: a text that can be read at this speed needs no measurement."""
HASHING_SPEED, HASHING_FRACTION = 300e6, 0.2
"""Bytes per second of hashing, and the fraction of the reading time that hashing the whole text may take."""
_MEASURING_FRACTION, _MOST_SECONDS_MEASURING, _MARGIN, _MOST_FASTER, _CERTAIN = 0.15, 4.0, 0.8, 1.5, 2.0
_FRACTIONS = tuple(2 ** (-step / 2) for step in range(1, 60))
"""Coarse steps, so that the next run with the same budget reads the same fraction, from the cache."""


def reading_seconds(minutes: float) -> float:
    """Return the time for reading in a time budget."""
    return minutes * 60 * READING_FRACTION


def like_fractions(fraction: float) -> list[float]:
    """Return the steps down to about half of a fraction, the largest first."""
    return [step for step in _FRACTIONS if step >= fraction / 2.1]


def can_be_hashed(num_bytes: int, minutes: float | None) -> bool:
    """Return whether there is time to hash a whole text."""
    return minutes is None or num_bytes < HASHING_SPEED * HASHING_FRACTION * reading_seconds(minutes) + ALWAYS_READ


def needs_no_measuring(num_bytes: int, minutes: float) -> bool:
    """Return whether a text is short enough to be read in any case."""
    return num_bytes <= max(2 * ALWAYS_READ, SLOWEST_SPEED * reading_seconds(minutes))


def _speed(size: float, seconds: float, more: float, seconds_more: float) -> float:
    """Return the bytes per second of the last bytes only (the first words are all new), bounded against noise."""
    overall = size / max(seconds, 1e-9)
    return min(more / seconds_more, _MOST_FASTER * overall) if seconds_more > 0 else overall


def affordable_fraction(num_bytes: int, seconds: float, read: Callable[[float], None]) -> tuple[float, float]:
    """Measure which fraction of a text can be read.

    Args:
        num_bytes: size of the text.
        seconds: time for reading.
        read: function that reads a fraction of the text.

    Returns:
        The fraction, and the seconds that the whole text would take.
    """
    started = time.monotonic()
    size, last_size, last_seconds = float(ALWAYS_READ), 0.0, 0.0
    while True:
        if size >= num_bytes:
            return 1.0, 0.0
        before = time.monotonic()
        read(size / num_bytes)
        took = time.monotonic() - before
        speed = _speed(size, took, size - last_size, took - last_seconds)
        spent = time.monotonic() - started
        if _CERTAIN * num_bytes / speed < seconds - spent:
            return 1.0, num_bytes / speed
        if spent + 2 * took > min(_MEASURING_FRACTION * seconds, _MOST_SECONDS_MEASURING):
            break
        size, last_size, last_seconds = 2 * size, size, took
    affordable = max(float(ALWAYS_READ), _MARGIN * (seconds - spent) * speed)
    needed = num_bytes / speed / _MARGIN + spent
    if affordable >= num_bytes:
        return 1.0, needed
    return next((step for step in _FRACTIONS if step * num_bytes <= affordable), _FRACTIONS[-1]), needed
