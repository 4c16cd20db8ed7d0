"""What is known of a text without reading it again: of each file, and of each part that it was split into."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextFile:
    """One file of a text.

    Args:
        name: its path as it was named.
        num_bytes: how many of its bytes are read.
        sha256: of these bytes.
        of_bytes: how many it has, where only a beginning is read.
    """

    name: str
    num_bytes: int
    sha256: str
    of_bytes: int | None = None


@dataclass(frozen=True)
class SplitSize:
    """How much text a split holds. A closing boundary counts as one character: the line end that it stands for."""

    num_tokens: int = 0
    num_chars: int = 0
    num_bytes: int = 0
    num_unknown: int = 0
    num_units: int = 0
