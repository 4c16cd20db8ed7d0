"""Labels of units: who wrote a line or a document, by its file, its directory, or a column of its table.

While a text is read and split, each unit begins with its label between two NUL characters, which no label holds. They are taken
off before anything is counted or encoded.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.config import Unit
from charnn.config.text import LABELS_BY_PATH
from charnn.errors import TextError, first_of
from charnn.files import explain_write_errors
from charnn.text.facts import LabelFacts
from charnn.text.label_marks import MARK, as_label, marked
from charnn.text.reading import documents, lines
from charnn.text.sources import PACKED_SUFFIXES, STANDARD_INPUT, Source
from charnn.text.splitting import SplitChunk

LABELS_FILE = "{split}.labels.bin"
CHUNK_CHARS = 1 << 20
MOST_LABELS = 10_000
"""More are a column of something else, such as the text itself."""
SHOWN_LABELS = 3
_NUMBER = np.dtype(np.uint32)

Labels = npt.NDArray[np.int64]


def label_of_path(name: str, label_from: str) -> str:
    """Return the label of a file: its name without suffix, or the name of its directory.

    Raises:
        TextError: for standard input, which has neither.
    """
    if name == STANDARD_INPUT:
        raise TextError(
            f"{name}: has no {label_from} name to take a label from; name files, or pass --column and a column"
        )
    path = Path(name)
    if label_from == "directory":
        return as_label(path.resolve().parent.name) or "/"
    return as_label((path.with_suffix("") if path.suffix in PACKED_SUFFIXES else path).stem)


def read_marked(
    sources: Sequence[Source],
    *,
    read: Callable[..., Iterator[str]],
    label_from: str,
    unit: Unit,
    **arguments: Any,
) -> Iterator[str]:
    """Yield the units of files in chunks, each with the label of its file; cells of a table are marked as they are read.

    Args:
        read: reads sources in chunks (see `read_text`).
        label_from: see `--label-from`.
        arguments: of `read`.
    """
    if label_from not in LABELS_BY_PATH:
        yield from read(sources, **arguments)
        return
    cut, end = (documents, "\n\n") if unit == "document" else (lines, "\n")
    for source in sources:
        mark = marked(label_of_path(source.name, label_from))
        gathered: list[str] = []
        num_chars = 0
        for text in cut(read([source], **arguments)):
            if not text.strip():
                continue
            gathered += [mark, text, end]
            num_chars += len(text)
            if num_chars >= CHUNK_CHARS:
                yield "".join(gathered)
                gathered, num_chars = [], 0
        yield "".join(gathered)


def unmarked(chunks: Iterator[SplitChunk]) -> Iterator[SplitChunk]:
    """Yield chunks of marked units without their labels."""
    for chunk in chunks:
        yield SplitChunk(chunk.split, [text.split(MARK, 2)[2] for text in chunk.texts])


class LabelRecorder:
    """Takes labels off marked units, and remembers them: 4 bytes a unit.

    Args:
        label_from: see `--label-from`.
        name: of the text, for messages.
    """

    def __init__(self, label_from: str, name: str) -> None:
        self._label_from, self._name = label_from, name
        self._numbers: dict[str, int] = {}
        self._of_units = {split: array("I") for split in ("train", "valid")}

    def unmarked(self, chunks: Iterator[SplitChunk]) -> Iterator[SplitChunk]:
        """Yield chunks of marked units without their labels. Raises TextError for too many labels."""
        for chunk in chunks:
            texts = []
            for marked_text in chunk.texts:
                _, label, text = marked_text.split(MARK, 2)
                self._of_units[chunk.split].append(self._numbers.setdefault(label, len(self._numbers)))
                texts.append(text)
            if len(self._numbers) > MOST_LABELS:
                raise TextError(
                    f"{self._name}: found more than {MOST_LABELS:,} labels with --label-from {self._label_from}; "
                    "name a column of few values"
                )
            yield SplitChunk(chunk.split, texts)

    def write(self, directory: Path, notes: list[str]) -> list[LabelFacts]:
        """Write the label of each unit of both splits, and return the labels of the training part, the most frequent first.

        A unit's label is stored as its number in that list, from 1; labels that only held-out units have become 0, none.

        Args:
            notes: receives what a user should know.
        """
        found = list(self._numbers)
        counts = {
            split: np.bincount(np.frombuffer(numbers, dtype=np.uintc), minlength=len(found)).tolist()
            for split, numbers in self._of_units.items()
        }
        known = [number for number in range(len(found)) if counts["train"][number]]
        known.sort(key=lambda number: (-counts["train"][number], found[number]))
        new_numbers = np.zeros(len(found) + 1, dtype=_NUMBER)
        new_numbers[known] = np.arange(1, len(known) + 1)
        for split, numbers in self._of_units.items():
            path = directory / LABELS_FILE.format(split=split)
            with explain_write_errors(path):
                new_numbers[np.frombuffer(numbers, dtype=np.uintc)].tofile(path)
        facts = [LabelFacts(found[number], counts["train"][number], counts["valid"][number]) for number in known]
        notes += self._notes(facts, [name for number, name in enumerate(found) if not counts["train"][number]], counts)
        return facts

    def _notes(self, facts: Sequence[LabelFacts], unseen: Sequence[str], counts: Mapping[str, list[int]]) -> list[str]:
        shown = ", ".join(f"{each.name} {each.num_train:,}" for each in facts[:SHOWN_LABELS])
        more = f" and {len(facts) - SHOWN_LABELS:,} more" if len(facts) > SHOWN_LABELS else ""
        plural = "s" if len(facts) != 1 else ", so there is nothing to tell apart"
        notes = [f"{self._name}: {len(facts):,} label{plural} (training units: {shown}{more})"]
        if unseen:
            num_units = sum(counts["valid"][self._numbers[name]] for name in unseen)
            notes.append(
                f"{self._name}: {num_units:,} held-out unit{'s' if num_units > 1 else ''} with labels that no training unit "
                f"has ({first_of(list(unseen))}) are read without a label"
            )
        return notes


def read_labels(directory: Path, split: str) -> Labels:
    """Return the label of each unit of "train" or "valid", from 1, 0 for none (U,)."""
    return np.fromfile(directory / LABELS_FILE.format(split=split), dtype=_NUMBER).astype(np.int64)


def append_reversed_labels(directory: Path) -> None:
    """Append to the labels of "train" the same in reverse: those of the other strands (see `append_reverse_complement`)."""
    path = directory / LABELS_FILE.format(split="train")
    numbers = np.fromfile(path, dtype=_NUMBER)
    with explain_write_errors(path):
        np.concatenate([numbers, numbers[::-1]]).tofile(path)
