"""How much of a text can be read in the time there is: measured on its beginning."""

import time
from collections.abc import Callable

READING_FRACTION = 0.25
"""The fraction of a time budget that reading may take; counting n-grams beside it may take a tenth."""
ALWAYS_READ = 1 << 20
"""Bytes that are read whatever the time; so much, and twice as much, need not be measured."""
SLOWEST_SPEED = 100_000
"""Bytes a second that any machine reads: a text that can be read at this speed is not measured."""
HASHING_SPEED, HASHING_FRACTION = 300e6, 0.2
"""Bytes a second that a digest takes, and the fraction of the time for reading in which that of all the text is still made."""
_MEASURING_FRACTION, _MOST_SECONDS_MEASURING, _MARGIN, _MOST_FASTER, _CERTAIN = 0.15, 4.0, 0.8, 1.5, 2.0
_FRACTIONS = tuple(2 ** (-step / 2) for step in range(1, 60))
"""Coarse, so that the next run with the same budget reads as much and takes it from the cache."""


def reading_seconds(minutes: float) -> float:
    """Return how long reading may take in a time budget."""
    return minutes * 60 * READING_FRACTION


def like_fractions(fraction: float) -> list[float]:
    """Return the fractions that are not much smaller than this one, the largest first."""
    return [step for step in _FRACTIONS if step >= fraction / 2.1]


def can_be_hashed(num_bytes: int, minutes: float | None) -> bool:
    """Tell whether there is time to take the digest of a whole text."""
    return minutes is None or num_bytes < HASHING_SPEED * HASHING_FRACTION * reading_seconds(minutes) + ALWAYS_READ


def needs_no_measuring(num_bytes: int, minutes: float) -> bool:
    """Tell whether a text is so short that it can be read in any case."""
    return num_bytes <= max(2 * ALWAYS_READ, SLOWEST_SPEED * reading_seconds(minutes))


def _speed(size: float, seconds: float, more: float, seconds_more: float) -> float:
    """Return bytes a second of the last bytes alone, as the first ones are slow: their words are new. But noise is no speed."""
    overall = size / max(seconds, 1e-9)
    return min(more / seconds_more, _MOST_FASTER * overall) if seconds_more > 0 else overall


def affordable_fraction(num_bytes: int, seconds: float, read: Callable[[float], None]) -> tuple[float, float]:
    """Find out how much of a text can be read.

    Args:
        num_bytes: of the text.
        seconds: that reading may take.
        read: reads this fraction of the text in the way that is measured.

    Returns:
        The fraction, and the seconds that all of the text would take.
    """
    began = time.monotonic()
    size, last_size, last_seconds = float(ALWAYS_READ), 0.0, 0.0
    while True:
        if size >= num_bytes:
            return 1.0, 0.0
        before = time.monotonic()
        read(size / num_bytes)
        took = time.monotonic() - before
        speed = _speed(size, took, size - last_size, took - last_seconds)
        spent = time.monotonic() - began
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
