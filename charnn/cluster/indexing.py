"""Where the parts of a text begin: at borders of the windows in which a scorer batches units, so that no batch changes."""

import codecs
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from charnn.cluster.plan import Part
from charnn.scoring.scorer import is_full_window
from charnn.text.decoding import RAW
from charnn.text.file_kinds import HEAD_BYTES, encoding_by_mark
from charnn.text.located import ScoredInput
from charnn.text.sources import Source, explained, opened

BLOCK_BYTES = 1 << 20
WINDOWS_PER_PART = 8
FEWEST_PARTS, MOST_PARTS = 64, 10_000
LINE_FEED = ord("\n")


@dataclass
class Index:
    """The windows of a text: arrays with an element for each, of the position at which it begins.

    Args:
        first: number of units before it.
        file: index of the file in which it begins.
        num_before: number of units of that file before it.
        units_per_file: number of units of each file.
    """

    first: "array[int]" = field(default_factory=lambda: array("q"))
    file: "array[int]" = field(default_factory=lambda: array("q"))
    num_before: "array[int]" = field(default_factory=lambda: array("q"))
    units_per_file: list[int] = field(default_factory=list)

    @property
    def num_windows(self) -> int:
        """The number of windows."""
        return len(self.first)


def index_of(source: ScoredInput) -> Index:
    """Read all units of an input once, and return where its windows begin."""
    index = Index(units_per_file=[0] * len(source.files))
    num_units = num_in_window = num_chars = 0
    for group in source.groups:
        for text in group.texts():
            file = group.next_origin().file_number
            if not num_in_window:
                index.first.append(num_units)
                index.file.append(file)
                index.num_before.append(index.units_per_file[file])
            num_units += 1
            num_in_window += 1
            num_chars += len(text)
            index.units_per_file[file] += 1
            if is_full_window(num_in_window, num_chars):
                num_in_window = num_chars = 0
    return index


def default_num_parts(num_windows: int) -> int:
    """Return the number of parts of several windows each: enough to keep machines busy, and few enough to be files."""
    windows_per_part = max(1, min(WINDOWS_PER_PART, num_windows // FEWEST_PARTS), -(-num_windows // MOST_PARTS))
    return max(1, -(-num_windows // windows_per_part))


def cut(index: Index, num_parts: int) -> list[Part]:
    """Return parts of equal numbers of windows, give or take one, without their offsets; the first ones may be empty."""
    num_windows = index.num_windows
    firsts = [*index.first, sum(index.units_per_file)]
    bounds = [num_windows * number // num_parts for number in range(num_parts + 1)]
    parts = []
    for number, (begin, end) in enumerate(pairwise(bounds), start=1):
        window = min(begin, num_windows - 1)
        position = (index.file[window], index.num_before[window])
        parts.append(Part(number, firsts[begin] + 1, firsts[end] - firsts[begin], *position, offset=None))
    return parts


def line_offsets(source: Source, wanted: Iterable[int], *, num_lines: int, encoding: str) -> dict[int, int] | None:
    """Return the offsets of lines of a file, in bytes, by line; None if lines must be read from the beginning.

    That is so for compressed files, wide encodings, and carriage returns that end lines.

    Args:
        wanted: numbers of the lines before each, below `num_lines`.
        num_lines: number of lines of the file.
        encoding: a codec's name, or RAW.
    """
    if encoding != RAW and codecs.lookup(encoding).name != "utf-8":
        return None
    with opened(source, unpacks=encoding != RAW) as text:
        if text.file is not text.stored:
            return None
        head = text.file.peek(HEAD_BYTES)[:HEAD_BYTES]  # type: ignore[attr-defined]
    if encoding != RAW and encoding_by_mark(head) is not None:
        return None
    assert source.path is not None
    with explained(source):
        ascending = sorted(set(wanted))
        offsets, num_found = _offsets(source.path, ascending, source.stored_bytes)
    return dict(zip(ascending, offsets, strict=True)) if num_found == num_lines else None


def _offsets(path: Path, wanted: Sequence[int], num_bytes: int) -> tuple[list[int], int]:
    """Return the offsets of some lines that line feeds end, and the number of all lines."""
    offsets = [0 for line in wanted if line == 0]
    position = num_ended = 0
    last = b"\n"
    with path.open("rb") as file:
        while position < num_bytes and (block := file.read(min(BLOCK_BYTES, num_bytes - position))):
            number = block.count(b"\n")
            if len(offsets) < len(wanted) and wanted[len(offsets)] <= num_ended + number:
                ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == LINE_FEED)
                while len(offsets) < len(wanted) and wanted[len(offsets)] <= num_ended + number:
                    offsets.append(position + int(ends[wanted[len(offsets)] - num_ended - 1]) + 1)
            num_ended, position, last = num_ended + number, position + len(block), block
    return offsets, num_ended + (not last.endswith(b"\n"))
