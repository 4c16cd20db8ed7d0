"""Minimal pairs: which of two sentences, or of two ways to go on, a model finds more probable."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from charnn.errors import TextError
from charnn.text.sources import empty_text_error
from charnn.text.tables import Row, joined, read_table

TIE_NATS = 1e-5
"""Two log probabilities closer than this are equal: batching changes a log probability by about as much."""
NORMAL_95 = 1.959964
TEXT_COLUMNS = ("prefix", "good", "bad")


@dataclass(frozen=True)
class Pair:
    """Two texts that differ in what makes one of them good.

    Args:
        line: where it stands in its file, the header being 1.
        good, bad: the texts, with the prefix that they share.
        categories: by column.
    """

    line: int
    good: str
    bad: str
    categories: dict[str, str]


@dataclass(frozen=True)
class PairFile:
    """The pairs of a file.

    Args:
        has_prefix: whether ways to go on are compared, whose end is not the end of a sentence.
        categories: columns, in order.
    """

    pairs: Sequence[Pair]
    has_prefix: bool
    categories: Sequence[str]


def read_pairs(name: str, lines: Iterable[str]) -> PairFile:
    r"""Read a table of pairs (see `read_table`).

    Args:
        name: of the file, for messages.
        lines: without line ends, the header first.

    Raises:
        TextError: naming the line that has too few or too many columns, or what the header lacks.

    Example:
        >>> pairs = charnn.api.read_pairs("pairs.tsv", ["good\tbad", "The fox sleeps.\tThe fox sleep."]).pairs
        >>> pairs[0].good
        'The fox sleeps.'
    """
    lines = iter(lines)
    header = next(lines, None)
    if header is None:
        raise empty_text_error([name], "a file of pairs begins with a header that has the columns good and bad")
    table = read_table(name, chain([header], lines))
    if not {"good", "bad"} <= set(table.columns):
        raise TextError(
            f"{name}:1: found the columns {', '.join(table.columns)}, but there must be good and bad; separate columns by "
            "tabs or commas"
        )
    pairs = [_pair(row) for row in table.rows]
    if not pairs:
        raise TextError(f"{name}: contains a header but no pair; write one per line")
    categories = [column for column in table.columns if column not in TEXT_COLUMNS]
    return PairFile(pairs, "prefix" in table.columns, categories)


def _pair(row: Row) -> Pair:
    prefix = row.cells.get("prefix", "")
    categories = {column: value for column, value in row.cells.items() if column not in TEXT_COLUMNS}
    return Pair(row.line, joined(prefix, row.cells["good"]), joined(prefix, row.cells["bad"]), categories)


@dataclass(frozen=True)
class ScoredPair:
    """A pair as a model sees it; its margin is above 0 where the good text is more probable.

    Example:
        >>> charnn.api.ScoredPair(pairs[0], good_nats=-20.0, bad_nats=-23.0).points
        1.0
    """

    pair: Pair
    good_nats: float
    bad_nats: float

    @property
    def margin_nats(self) -> float:
        """By how much the good text is more probable."""
        return self.good_nats - self.bad_nats

    @property
    def points(self) -> float:
        """1 where the good text is more probable, 0 where the bad one is, one half for a tie."""
        if abs(self.margin_nats) <= TIE_NATS:
            return 0.5
        return float(self.margin_nats > 0)


@dataclass(frozen=True)
class Accuracy:
    """The fraction of pairs in which the good text is more probable, ties counted as half.

    Args:
        category, value: which pairs, empty for all.
        low, high: a 95 % interval (Wilson 1927).
        mean_margin_nats: over the pairs.
    """

    category: str
    value: str
    num_pairs: int
    num_ties: int
    accuracy: float
    low: float
    high: float
    mean_margin_nats: float


def accuracies(pairs: Sequence[ScoredPair], categories: Sequence[str]) -> Iterator[Accuracy]:
    """Yield the accuracy over all pairs, and over those of each value of each category, in the order of the file.

    Example:
        >>> overall, *_ = charnn.api.accuracies([charnn.api.ScoredPair(pairs[0], -20.0, -23.0)], [])
        >>> overall.accuracy
        1.0
    """
    yield _accuracy("", "", pairs)
    for category in categories:
        by_value: dict[str, list[ScoredPair]] = {}
        for each in pairs:
            by_value.setdefault(each.pair.categories[category], []).append(each)
        for value, some in by_value.items():
            yield _accuracy(category, value, some)


def _accuracy(category: str, value: str, pairs: Sequence[ScoredPair]) -> Accuracy:
    points = sum(each.points for each in pairs)
    low, high = wilson_interval(points, len(pairs))
    return Accuracy(
        category=category,
        value=value,
        num_pairs=len(pairs),
        num_ties=sum(each.points == 0.5 for each in pairs),
        accuracy=points / len(pairs),
        low=low,
        high=high,
        mean_margin_nats=math.fsum(each.margin_nats for each in pairs) / len(pairs),
    )


def wilson_interval(num_right: float, num_all: int) -> tuple[float, float]:
    """Return a 95 % interval for a proportion (Wilson 1927), valid for few trials and for proportions near 0 and 1."""
    rate, square = num_right / num_all, NORMAL_95**2
    middle = (rate + square / (2 * num_all)) / (1 + square / num_all)
    half = NORMAL_95 * math.sqrt(rate * (1 - rate) / num_all + square / (4 * num_all**2)) / (1 + square / num_all)
    return max(0.0, middle - half), min(1.0, middle + half)
