"""Numbers as tokens: each value of a series is the interval of the training values' quantiles that it lies in.

    12.4 13.1 12.9   ->   [12.25,12.65) [12.95,13.35) [12.65,12.95)

A missing value is <unk>. See WaveNet (van den Oord et al. 2016) for a categorical distribution over quantized values.
"""

import copy
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.errors import TextError
from charnn.files import JsonObject
from charnn.text.decoders import Decoder
from charnn.text.fasta import Fasta
from charnn.text.tokenizer import Tokenizer, tokenizer_json
from charnn.text.vocabulary import DOCUMENT_BOUNDARY, UNKNOWN, Token, Vocabulary

Values = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

KIND = "bins"
DEFAULT_SIZE = 64
NUM_SPECIAL = 2
"""<unk> and the boundary, whose ids come before those of the bins."""
UNKNOWN_ID, BOUNDARY_ID = 0, 1
MOST_DECIMALS = 15
MOST_EXAMINED = 10_000
"""Distinct values whose decimals are counted."""
LARGEST_IN_FULL = 1e16
"""From here on, numbers are written with an exponent."""
_WORD = re.compile(r"\S+")
_WORD_OR_LINE_END = re.compile(r"\S+|\n")


def is_number(word: str) -> bool:
    """Return whether a word is a finite decimal number, as in -3, 12.5 or 1e-3."""
    try:
        return math.isfinite(float(word)) and "_" not in word
    except ValueError:
        return False


def complaint_about(word: str) -> str:
    """Return what is wrong with a word that is no number, and what to write instead."""
    if is_number(word.replace(",", ".", 1)):
        return f"found {word!r}, which is not a number; write a point before the decimals, as in {word.replace(',', '.', 1)}"
    return (
        f"found {word!r}, which is not a finite number; write numbers as in -3 or 12.5, and leave a missing value empty"
    )


def checked_lines(name: str, chunks: Iterable[str]) -> Iterator[str]:
    """Yield the chunks of a text, each of which ends at a line end or between two words, if all of its words are numbers.

    Args:
        name: of the text, for messages.

    Raises:
        TextError: naming the line of the first word that is no number.
    """
    line = 1
    for chunk in chunks:
        if not _are_numbers(chunk.split()):
            for found in _WORD.finditer(chunk):
                if found[0] != UNKNOWN and not is_number(found[0]):
                    where = line + chunk.count("\n", 0, found.start())
                    raise TextError(f"{name}:{where}: {complaint_about(found[0])}")
        line += chunk.count("\n")
        yield chunk


def _are_numbers(words: Sequence[str]) -> bool:
    try:
        values = [float(word) for word in words if word != UNKNOWN]
    except ValueError:
        return False
    return bool(np.isfinite(values).all()) and not any("_" in word for word in words)


def check_numbers(where: str, cell: str, column: str) -> None:
    """Raise TextError for a cell that holds anything but numbers.

    Args:
        where: file and line.
        column: that the cell is of.
    """
    words = cell.split()
    if not _are_numbers(words):
        wrong = next(word for word in words if word != UNKNOWN and not is_number(word))
        raise TextError(f"{where}: in {column}, {complaint_about(wrong)}")


def values_of(text: str) -> Values:
    """Return the numbers of a text (N,), separated by white space; a missing one, <unk>, is NaN.

    Raises:
        TextError: naming the first word that is no number.
    """
    words = text.split()
    if not _are_numbers(words):
        wrong = next(word for word in words if word != UNKNOWN and not is_number(word))
        raise TextError(f"a model of numbers reads numbers between white space, but {complaint_about(wrong)}")
    return np.array([math.nan if word == UNKNOWN else float(word) for word in words], dtype=np.float64)


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
        ends = ["-inf", *(self._written(edge, self.decimals + 1).rstrip("0").rstrip(".") for edge in self.edges), "inf"]
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
    decimals = max(map(_num_decimals, values[:: max(1, len(values) // MOST_EXAMINED)].tolist()))
    firsts = _first_values(counts.tolist(), most)
    edges = [_between(float(values[first - 1]), float(values[first]), decimals) for first in firsts[1:]]
    medians = [
        float(values[first + np.searchsorted(np.cumsum(counts[first:end]), counts[first:end].sum() / 2)])
        for first, end in zip(firsts, [*firsts[1:], len(values)], strict=True)
    ]
    return Bins(tuple(edges), tuple(medians), float(values[0]), float(values[-1]), decimals)


def _first_values(counts: Sequence[int], most: int) -> list[int]:
    """Return the index of each bin's first distinct value; its count is as near to its share of what is left as can be."""
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


def _between(lower: float, upper: float, decimals: int) -> float:
    """Return the edge between two neighbouring values: the middle, with one decimal more than the values have."""
    middle = round(lower + (upper - lower) / 2, min(decimals, MOST_DECIMALS) + 1)
    return middle if lower < middle <= upper else upper


def _num_decimals(value: float) -> int:
    digits, _, exponent = repr(value).partition("e")
    decimals = len(digits.partition(".")[2].rstrip("0")) - int(exponent or 0)
    return min(MOST_DECIMALS, max(0, decimals))


class DistinctValues:
    """Counts distinct values of a text that is read in parts."""

    def __init__(self) -> None:
        self._values, self._counts = np.zeros(0), np.zeros(0, dtype=np.int64)
        self._new: list[Values] = []
        self._num_new = self.num_missing = 0

    def add(self, values: Values) -> None:
        """Count values (N,); NaN is a missing one."""
        present = values[~np.isnan(values)]
        self.num_missing += len(values) - len(present)
        self._new.append(present)
        self._num_new += len(present)
        if self._num_new > len(self._values) + (1 << 20):
            self._merge()

    def _merge(self) -> None:
        new, counts = np.unique(np.concatenate([np.zeros(0), *self._new]) + 0.0, return_counts=True)  # -0 is 0
        values, where = np.unique(np.concatenate((self._values, new)), return_inverse=True)
        totals = np.bincount(where, np.concatenate((self._counts, counts)), minlength=len(values))
        self._values, self._counts, self._new, self._num_new = values, totals.astype(np.int64), [], 0

    def counted(self) -> tuple[Values, npt.NDArray[np.int64]]:
        """Return the distinct values, ascending (N,), and their counts (N,)."""
        self._merge()
        return self._values, self._counts


class BinsDecoder:
    """Writes the median of each bin, with white space between two."""

    def __init__(self, texts: Sequence[str], unit: Unit) -> None:
        self._texts = texts
        self._gap, self._end = (" ", "\n") if unit == "line" else ("\n", "\n\n")
        self._is_first = True

    def push(self, id: int) -> str:
        """See `Decoder`."""
        if id == BOUNDARY_ID:
            self._is_first = True
            return self._end
        gap = "" if self._is_first else self._gap
        self._is_first = False
        return gap + self._texts[id]

    def flush(self) -> str:
        """See `Decoder`."""
        return ""

    def copy(self) -> Decoder:
        """See `Decoder`."""
        return copy.copy(self)


class BinsTokenizer:
    """Numbers between white space, each of which is the bin that it lies in.

    Args:
        bins: by the quantiles of the training values.
        unit: in lines, a line end is the boundary; otherwise it is white space.
        vocabulary: <unk>, the boundary, and the bins.
    """

    kind = KIND
    fasta: Fasta | None = None
    version = 1

    def __init__(self, bins: Bins, unit: Unit, vocabulary: Vocabulary) -> None:
        if vocabulary.tokens != _names(bins):
            raise ValueError("the tokens are not the names of the bins")
        self.bins, self.unit, self.vocabulary = bins, unit, vocabulary

    def encode(self, text: str) -> Ids:
        """Return an id for each number, and in lines one for each line end.

        Raises:
            TextError: naming the first word that is no number.
        """
        if self.unit == "line" and "\n" in text:
            text, *others = text.split("\n")
            parts = [self._ids(text)]
            for line in others:
                parts += [np.array([BOUNDARY_ID]), self._ids(line)]
            return np.concatenate(parts)
        return self._ids(text)

    def _ids(self, text: str) -> Ids:
        return self.ids_of(values_of(text))

    def ids_of(self, values: Values) -> Ids:
        """Return the ids of values (N,); of a missing one, NaN, that of <unk>."""
        return np.where(np.isnan(values), UNKNOWN_ID, self.bins.of(values) + NUM_SPECIAL)

    def tokenize(self, text: str) -> list[Token]:
        """Return the numbers as they are written, and in lines the line ends."""
        pattern = _WORD_OR_LINE_END if self.unit == "line" else _WORD
        found = list(pattern.finditer(text))
        return [Token(match[0], id, match.start()) for match, id in zip(found, self.encode(text).tolist(), strict=True)]

    def decoder(self) -> Decoder:
        """Return a decoder that writes medians."""
        return BinsDecoder([UNKNOWN, "", *self.bins.texts()], self.unit)

    def files(self) -> dict[str, bytes]:
        """Return tokenizer.json."""
        return {"tokenizer.json": tokenizer_json(self, bins=self.bins.facts())}

    @classmethod
    def of(cls, bins: Bins, unit: Unit, counts: Sequence[int], num_missing: int) -> Self:
        """Return the tokenizer of some bins with their counts."""
        return cls(bins, unit, Vocabulary(_names(bins), (num_missing, 0, *counts), BOUNDARY_ID, UNKNOWN_ID))

    @classmethod
    def loaded(cls, stored: JsonObject, unit: Unit, vocabulary: Vocabulary) -> Self:
        """Return a tokenizer from what `files` stored. Raises ValueError, TypeError or KeyError."""
        found: dict[str, Any] = stored["bins"]
        bins = Bins(
            tuple(map(float, found["edges"])),
            tuple(map(float, found["medians"])),
            float(found["lowest"]),
            float(found["highest"]),
            int(found["decimals"]),
        )
        return cls(bins, unit, vocabulary)


def _names(bins: Bins) -> tuple[str, ...]:
    return (UNKNOWN, DOCUMENT_BOUNDARY, *bins.names())


def train_bins(texts: Iterable[str], unit: Unit, *, size: int | None) -> BinsTokenizer:
    """Return a tokenizer whose bins are quantiles of the numbers of a text.

    Args:
        texts: in parts that end between two numbers.
        size: of the vocabulary at most.

    Raises:
        TextError: for a text without any number.
    """
    distinct = DistinctValues()
    for text in texts:
        distinct.add(values_of(text))
    values, counts = distinct.counted()
    if not len(values):
        raise TextError("the training text has no number; write one per line, or name a column that has some")
    bins = fit_bins(values, counts, most=(size or DEFAULT_SIZE) - NUM_SPECIAL)
    of_bins = np.bincount(bins.of(values), counts, minlength=len(bins))
    return BinsTokenizer.of(bins, unit, of_bins.astype(int).tolist(), distinct.num_missing)


def is_of_numbers(tokenizer: Tokenizer) -> bool:
    """Return whether a model reads numbers, not text."""
    return tokenizer.kind == KIND


def is_series(tokenizer: Tokenizer) -> bool:
    """Return whether a model reads all of its values as one series, so that a line or cell of it is no unit of its own."""
    return tokenizer.kind == KIND and tokenizer.unit == "stream"
