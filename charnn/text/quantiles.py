"""Bins of numbers by quantiles: each holds about equally many of the training values, and stands for their median."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from charnn.files import JsonObject

Values = npt.NDArray[np.float64]

MOST_DECIMALS = 15
"""Values with as many, or more, are not rounded."""
MOST_EXAMINED = 10_000
"""Distinct values whose decimals are counted."""
LARGEST_IN_FULL = 1e16
"""From here on, numbers are written with an exponent."""


@dataclass(frozen=True)
class Bins:
    """Intervals that divide the numbers; a value on the border of two belongs to the upper one.

    Args:
        edges: between two bins, ascending (M - 1,).
        medians: of the training values of each bin (M,).
        lowest, highest: of all training values.
        decimals: that the training values have.
    """

    edges: tuple[float, ...]
    medians: tuple[float, ...]
    lowest: float
    highest: float
    decimals: int

    def __post_init__(self) -> None:
        numbers = (*self.edges, *self.medians, self.lowest, self.highest)
        if not all(isinstance(number, float) and math.isfinite(number) for number in numbers):
            raise ValueError("an edge or a median is not a finite number")
        lower, upper = (-math.inf, *self.edges), (*self.edges, math.inf)
        if len(self.medians) != len(lower) or not all(
            low <= median < high for low, median, high in zip(lower, self.medians, upper, strict=True)
        ):
            raise ValueError("a median is not in its bin")

    def __len__(self) -> int:
        return len(self.medians)

    def of(self, values: Values) -> npt.NDArray[np.int64]:
        """Return the bin of each value (N,), from 0."""
        return np.searchsorted(self.edges, values, side="right")

    def names(self) -> list[str]:
        """Return each bin as an interval, without its upper edge."""
        ends = ["-inf", *map(self._edge_name, self.edges), "inf"]
        return [f"{'[' if number else '('}{ends[number]},{ends[number + 1]})" for number in range(len(self))]

    def texts(self) -> list[str]:
        """Return the median of each bin as a text, which is in this bin."""
        return [self._written(median, self.decimals) for median in self.medians]

    @property
    def quarters(self) -> npt.NDArray[np.float64]:
        """Lower end, median and upper end of each bin (M, 3); the outer ones end at the lowest and the highest value."""
        lower, upper = (self.lowest, *self.edges), (*self.edges, self.highest)
        return np.array(list(zip(lower, self.medians, upper, strict=True)))

    def facts(self) -> JsonObject:
        """Return what tokenizer.json stores."""
        return {
            "edges": list(self.edges),
            "medians": list(self.medians),
            "lowest": self.lowest,
            "highest": self.highest,
            "decimals": self.decimals,
        }

    def _edge_name(self, edge: float) -> str:
        written = self._written(edge, self.decimals + 1)
        return written if "e" in written else written.rstrip("0").rstrip(".")

    @staticmethod
    def _written(value: float, decimals: int) -> str:
        in_full = f"{value:.{decimals}f}"
        return in_full if abs(value) < LARGEST_IN_FULL and float(in_full) == value else repr(value)


def fit_bins(values: Values, counts: npt.NDArray[np.int64], *, most: int) -> Bins:
    """Return bins that hold about equally many training values; one that fills several quantiles has a bin of its own.

    Args:
        values: distinct values, ascending (N,), at least one.
        counts: how often each occurs (N,).
        most: bins at most.
    """
    step = len(values) // MOST_EXAMINED + 1
    while math.gcd(step, 10) > 1:  # every second of 0, 0.5, 1, ... has no decimals
        step += 1
    decimals = max(map(_num_decimals, values[::step].tolist()))
    firsts = _first_values(counts.tolist(), most)
    edges = [_between(float(values[first - 1]), float(values[first]), decimals) for first in firsts[1:]]
    medians = [
        float(values[first + np.searchsorted(np.cumsum(counts[first:end]), counts[first:end].sum() / 2)])
        for first, end in zip(firsts, [*firsts[1:], len(values)], strict=True)
    ]
    return Bins(tuple(edges), tuple(medians), float(values[0]), float(values[-1]), decimals)


def _first_values(counts: Sequence[int], most: int) -> list[int]:
    """Return the index of each bin's first distinct value.

    A value that fills a bin has one of its own. The runs of others between such values share the rest by their counts, and one
    for which none is left joins the value before it.
    """
    if len(counts) <= most:
        return list(range(len(counts)))
    fills = _fill_bins(counts, most)
    runs = [(fills_one, list(run)) for fills_one, run in groupby(range(len(counts)), fills.__getitem__)]
    num_free, num_runs = most - sum(fills), sum(not fills_one for fills_one, _ in runs)
    left = sum(count for count, fills_one in zip(counts, fills, strict=True) if not fills_one)
    firsts: list[int] = []
    for fills_one, (first, *others) in runs:
        if fills_one:
            firsts += [first, *others]
            continue
        held = counts[first : first + 1 + len(others)]
        num_runs -= 1
        num_bins = min(max(1, round(num_free * sum(held) / left)), num_free - num_runs)
        if num_bins > 0 or not firsts:
            found = _even_parts(held, max(1, num_bins))
            firsts += [first + index for index in found]
            num_free -= len(found)
        left -= sum(held)
    return firsts


def _even_parts(counts: Sequence[int], most: int) -> list[int]:
    """Return where each part begins; its count is as near to its share of what is left as can be."""
    if len(counts) <= most:
        return list(range(len(counts)))
    firsts, held, left = [0], 0, sum(counts)
    for index, count in enumerate(counts):
        share = left / (most - len(firsts) + 1)
        if held and len(firsts) < most and abs(held + count - share) > abs(held - share):
            firsts.append(index)
            left -= held
            held = 0
        held += count
    return firsts


def _fill_bins(counts: Sequence[int], most: int) -> list[bool]:
    """Return which values occur more often than the others would in each of the remaining bins; fewer than there are bins."""
    fills = [False] * len(counts)
    left, num_left = sum(counts), most
    while filling := [index for index, count in enumerate(counts) if not fills[index] and count * num_left > left]:
        for index in filling:
            fills[index] = True
            left -= counts[index]
        num_left -= len(filling)
    return fills


def _between(lower: float, upper: float, decimals: int) -> float:
    """Return the edge between two neighbouring values: the middle, with one decimal more than the values have."""
    middle = round(lower + (upper - lower) / 2, min(decimals, MOST_DECIMALS) + 1)
    return middle if lower < middle <= upper else upper


def _num_decimals(value: float) -> int:
    digits, _, exponent = repr(value).partition("e")
    decimals = len(digits.partition(".")[2].rstrip("0")) - int(exponent or 0)
    return min(MOST_DECIMALS, max(0, decimals))
