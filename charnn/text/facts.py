"""Sizes and digests of a text: of each file, and of each split."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextFile:
    """One file of a text.

    Args:
        name: path as given by the user.
        num_bytes: number of bytes that are read.
        sha256: digest of these bytes.
        of_bytes: size of the file, if only its beginning is read.
    """

    name: str
    num_bytes: int
    sha256: str
    of_bytes: int | None = None


@dataclass(frozen=True)
class LabelFacts:
    """A label of units, and how many of each split have it."""

    name: str
    num_train: int
    num_valid: int = 0


@dataclass(frozen=True)
class SplitSize:
    """Size of a split. A closing boundary counts as one character, the line end that it represents."""

    num_tokens: int = 0
    num_chars: int = 0
    num_bytes: int = 0
    num_unknown: int = 0
    num_units: int = 0
