"""Numbers as tokens: each value of a series is the interval of the training values' quantiles that it lies in.

    12.4 13.1 12.9   ->   [12.25,12.65) [12.95,13.35) [12.65,12.95)

A missing value is <unk>. See WaveNet (van den Oord et al. 2016) for a categorical distribution over quantized values.
"""

import copy
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.errors import TextError
from charnn.files import JsonObject
from charnn.text.decoders import Decoder
from charnn.text.fasta import Fasta
from charnn.text.quantiles import Bins, Values, fit_bins
from charnn.text.tables import has_table_suffix
from charnn.text.tokenizer import Tokenizer, tokenizer_json
from charnn.text.vocabulary import DOCUMENT_BOUNDARY, UNKNOWN, Token, Vocabulary

Ids = npt.NDArray[np.int64]

KIND = "bins"
DEFAULT_SIZE = 64
NUM_SPECIAL = 2
"""<unk> and the boundary, whose ids come before those of the bins."""
UNKNOWN_ID, BOUNDARY_ID = 0, 1
_WORD = re.compile(r"\S+")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
"""A number with commas that may separate thousands."""
_OF_TABLE = re.compile(r"[,;\t{]")
_WORD_OR_LINE_END = re.compile(r"\S+|\n")


def is_number(word: str) -> bool:
    """Return whether a word is a finite decimal number, as in -3, 12.5 or 1e-3."""
    try:
        return math.isfinite(float(word)) and "_" not in word
    except ValueError:
        return False


def complaint_about(word: str) -> str:
    """Return what is wrong with a word that is no number, and what to write instead."""
    if _GROUPED.fullmatch(word):
        without = word.replace(",", "")
        decimal = word.replace(",", ".")
        or_decimal = f", or {decimal} if the comma stands before decimals" if is_number(decimal) else ""
        return f"found {word!r}, which is not a number; write it without commas, as in {without}{or_decimal}"
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
                    row = chunk[chunk.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
                    remedy = _column_remedy(name, row)
                    raise TextError(f"{name}:{where}: {complaint_about(found[0])}{remedy}")
        line += chunk.count("\n")
        yield chunk


def _column_remedy(name: str, row: str) -> str:
    """Return what to do about a row that is evidently one of a table or of JSON lines; nothing for any other."""
    is_row = has_table_suffix(name) or (_OF_TABLE.search(row) and not all(map(_may_be_number, row.split())))
    return "; train, score and sample read one column of a table with --column NAME" if is_row else ""


def _may_be_number(word: str) -> bool:
    return is_number(word.replace(",", ""))


def _are_numbers(words: Sequence[str]) -> bool:
    try:
        values = [float(word) for word in words if word != UNKNOWN]
    except ValueError:
        return False
    return bool(np.isfinite(values).all()) and not any("_" in word for word in words)


def check_numbers(where: str, cell: str, column: str, unit: Unit) -> None:
    """Raise TextError for a cell that holds anything but numbers, or several in a series of one value a row.

    Args:
        where: file and line.
        column: that the cell is of.
        unit: "stream" where all rows are one series; otherwise each cell is a series.
    """
    words = cell.split()
    if not _are_numbers(words):
        wrong = next(word for word in words if word != UNKNOWN and not is_number(word))
        raise TextError(f"{where}: in {column}, {complaint_about(wrong)}")
    if unit == "stream" and len(words) > 1:
        raise TextError(
            f"{where}: in {column}, found {len(words)} numbers, {cell.strip()!r}, but a row of a series has one; write it "
            "without spaces, as in 1234.5, or train with --unit line, where each cell is a series"
        )


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


def train_bins(texts: Iterable[str], unit: Unit, *, size: int | None, name: str = "the training text") -> BinsTokenizer:
    """Return a tokenizer whose bins are quantiles of the numbers of a text.

    Args:
        texts: in parts that end between two numbers.
        size: of the vocabulary at most.
        name: of the text, for messages.

    Raises:
        TextError: for a text without any number.
    """
    distinct = DistinctValues()
    for text in texts:
        distinct.add(values_of(text))
    values, counts = distinct.counted()
    if not len(values):
        raise TextError(f"{name} has no number to train on; write one per line, or name a column that has some")
    bins = fit_bins(values, counts, most=(size or DEFAULT_SIZE) - NUM_SPECIAL)
    of_bins = np.bincount(bins.of(values), counts, minlength=len(bins))
    return BinsTokenizer.of(bins, unit, of_bins.astype(int).tolist(), distinct.num_missing)


def is_of_numbers(tokenizer: Tokenizer) -> bool:
    """Return whether a model reads numbers, not text."""
    return tokenizer.kind == KIND


def is_series(tokenizer: Tokenizer) -> bool:
    """Return whether a model reads all of its values as one series, so that a line or cell of it is no unit of its own."""
    return tokenizer.kind == KIND and tokenizer.unit == "stream"
