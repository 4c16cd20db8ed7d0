"""Splitting a text into training and validation: the end of a stream, or lines or documents drawn with a seed."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.errors import TextError
from charnn.text.doubts import long_line_doubt
from charnn.text.process_messages import Message
from charnn.text.reading import documents, lines, whole_lines
from charnn.text.tunes import tunes

UNITS_PER_CHUNK = 4096
MIN_UNITS = 5
"""Minimum number of units at which at least one is held out."""


class SplitChunk(NamedTuple):
    """A chunk of text that belongs to one split: part of a stream, or complete units."""

    split: str
    texts: Sequence[str]

    def text(self, unit: Unit) -> str:
        """Return the chunk as one text."""
        return self.texts[0] if unit == "stream" else "\n".join(self.texts) + "\n"

    def to_message(self) -> Message:
        """Return the chunk as a message to another process."""
        return Message("chunk", {"split": self.split}, [self.texts])

    @classmethod
    def from_message(cls, message: Message) -> "SplitChunk":
        """Return the chunk that became a message."""
        (texts,) = message.parts
        return cls(message.facts["split"], cast(Sequence[str], texts))


Splitter = Callable[[Iterator[str]], Iterator[SplitChunk]]
"""Assigns the chunks of a text to splits."""


@dataclass(frozen=True)
class StreamSplitter:
    """Holds out the end of a stream.

    Args:
        num_train: number of characters before it.
        keeps_words: whether it begins after white space.
    """

    num_train: int
    keeps_words: bool = False

    def __call__(self, chunks: Iterator[str]) -> Iterator[SplitChunk]:
        """Assign the chunks of the stream to splits."""
        return _split_stream(chunks, self.num_train, keeps_words=self.keeps_words)


def stream_splitter(chunks: Iterator[str], fraction: float, names: str, notes: list[str]) -> StreamSplitter:
    """Read a stream once, and return a splitter that holds out its end.

    Args:
        notes: receives what a user should know.
    """
    num_chars, has_text = 0, False
    for chunk in chunks:
        num_chars += len(chunk)
        has_text = has_text or not chunk.isspace()
    _refuse_blank(has_text, names)
    num_train = int(num_chars * (1 - fraction))
    if fraction and (num_train < 2 or num_train == num_chars):
        num_train = num_chars
        notes.append(f"{names}: too short to hold anything out ({num_chars} characters); training without validation")
    return StreamSplitter(num_train)


def unit_splitter(
    chunks: Iterator[str],
    unit: Unit,
    fraction: float,
    seed: int,
    names: str,
    notes: list[str],
    *,
    is_sequence: bool = False,
) -> Splitter:
    """Read lines or documents once, and return a splitter that holds out some of them, drawn with the seed.

    Args:
        notes: receives what a user should know.
        is_sequence: whether the lines are sequences of DNA or proteins, which may be long.
    """
    num_units = longest = 0
    for text in _units(chunks, unit, names, notes):
        num_units, longest = num_units + 1, max(longest, len(text))
    _refuse_blank(num_units > 0, names)
    if unit == "line" and not is_sequence and (doubt := long_line_doubt(f"{names}: the longest line", longest)):
        notes.append(doubt)
    num_held_out = round(num_units * fraction)
    if fraction and num_held_out == 0:
        num_held_out = int(num_units >= MIN_UNITS)
    if fraction and num_held_out in (0, num_units):
        num_held_out = 0
        notes.append(f"{names}: too few units to hold any out ({num_units}); training without validation")
    held_out = np.zeros(num_units, dtype=bool)
    held_out[np.random.default_rng(seed).permutation(num_units)[:num_held_out]] = True
    return lambda chunks: _split_units(_units(chunks, unit, names), held_out)


def _refuse_blank(has_text: bool, names: str) -> None:
    if not has_text:
        raise TextError(f"{names}: contains only white space; there is nothing to learn from")


def with_held_out_text(
    chunks: Iterator[SplitChunk], names: str, valid: str | None, notes: list[str]
) -> Iterator[SplitChunk]:
    """Yield the chunks of a split text, whose held-out part should not be white space alone.

    Args:
        names: of the training text.
        valid: name of the separate validation text; None if there is none.
        notes: receives what a user should know.

    Raises:
        TextError: if all of a separate validation text is white space.
    """
    num_chars, has_text = 0, False
    for chunk in chunks:
        if chunk.split == "valid" and not has_text:
            num_chars += sum(map(len, chunk.texts))
            has_text = any(not text.isspace() for text in chunk.texts if text)
        yield chunk
    if not num_chars or has_text:
        return
    if valid is not None:
        raise TextError(f"{valid}: contains only white space to validate on; name another --valid file or leave it out")
    notes.append(
        f"{names}: the held-out text is only white space ({num_chars:,} characters), so the validation loss is meaningless; "
        "remove it, or name a --valid file"
    )


def all_valid(chunks: Iterator[str], unit: Unit, name: str, notes: list[str]) -> Iterator[SplitChunk]:
    """Yield a whole text as validation chunks.

    Args:
        name: of the text, for messages.
        notes: receives what a user should know.
    """
    if unit == "stream":
        yield from (SplitChunk("valid", [text]) for text in whole_lines(chunks))
        return
    units = _units(chunks, unit, name, notes)
    while texts := list(itertools.islice(units, UNITS_PER_CHUNK)):
        yield SplitChunk("valid", texts)


def _units(chunks: Iterator[str], unit: Unit, names: str, notes: list[str] | None = None) -> Iterator[str]:
    """Yield the units of a text, without blank lines."""
    if unit == "tune":
        return tunes(chunks, names, notes)
    return documents(chunks) if unit == "document" else (line for line in lines(chunks) if line.strip())


def _split_stream(chunks: Iterator[str], num_train: int, *, keeps_words: bool) -> Iterator[SplitChunk]:
    position = 0
    for text in whole_lines(chunks):
        cut = min(max(num_train - position, 0), len(text))
        while keeps_words and 0 < cut < len(text) and not text[cut - 1].isspace():
            cut -= 1
        if cut:
            yield SplitChunk("train", [text[:cut]])
        if cut < len(text):
            yield SplitChunk("valid", [text[cut:]])
        position += len(text)


def _split_units(units: Iterator[str], held_out: npt.NDArray[np.bool_]) -> Iterator[SplitChunk]:
    gathered: dict[str, list[str]] = {"train": [], "valid": []}
    for number, unit in enumerate(units):
        split = "valid" if held_out[number] else "train"
        gathered[split].append(unit)
        if len(gathered[split]) == UNITS_PER_CHUNK:
            yield SplitChunk(split, gathered[split])
            gathered[split] = []
    yield from (SplitChunk(split, texts) for split, texts in gathered.items() if texts)
