"""Options of `charnn inspect` and `charnn report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.errors import UnusedOptionError
from charnn.options import Checked, Option

MAX_PASSAGE = 10_000
Inspected = Literal["gradients", "neurons", "embeddings", "states", "memory", "dropout", "unrolled", "attention"]


@dataclass(frozen=True, kw_only=True)
class InspectOptions(Checked):
    """Inspection of a network.

    Example:
        >>> from charnn.config import InspectOptions
        >>> InspectOptions().tokens
        100000
    """

    text: Annotated[
        tuple[str, ...],
        Option(
            "A text to read, for states, unrolled and attention; may be repeated.",
            automatic="from the held-out text",
            common=True,
        ),
    ] = ()
    file: Annotated[
        str | None,
        Option("A text file to read.", automatic="the held-out text", metavar="FILE", common=True),
    ] = None
    encoding: Annotated[str, Option("The encoding of the text file.", metavar="NAME")] = "utf-8"
    pattern: Annotated[
        tuple[str, ...],
        Option(
            "Search for neurons that are active inside matches of this regular expression; may be repeated.",
            metavar="REGEX",
            common=True,
        ),
    ] = ()
    tokens: Annotated[int, Option("Read at most this many tokens of the text.", at_least=2)] = 100_000
    seed: Annotated[int, Option("Seed of random choices.", at_least=0)] = 1
    format: Annotated[Literal["table", "jsonl"], Option("Tables, or one JSON record per row.", common=True)] = "table"


def check_used(options: InspectOptions, wanted: Sequence[Inspected]) -> None:
    """Refuse options that none of the wanted inspections reads. Raises OptionError."""
    readers: dict[str, tuple[Inspected, ...]] = {
        "text": ("states", "unrolled", "attention"),
        "file": ("gradients", "neurons", "states", "unrolled", "attention"),
        "pattern": ("neurons",),
    }
    for name, users in readers.items():
        if getattr(options, name) and not set(users) & set(wanted):
            raise UnusedOptionError(
                f"--{name}: has no effect on {', '.join(wanted)}; leave it out, or inspect {' or '.join(users)}",
                flags=[f"--{name}"],
            )


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Checked):
    """A report on models.

    Example:
        >>> from charnn.config import ReportOptions
        >>> ReportOptions().passage
        1500
    """

    file: Annotated[
        str | None,
        Option("A text file to read.", automatic="the held-out text", metavar="FILE", common=True),
    ] = None
    encoding: Annotated[str, Option("The encoding of the text file.", metavar="NAME")] = "utf-8"
    passage: Annotated[
        int, Option("Length of the passage that is shown, in tokens.", at_least=1, at_most=MAX_PASSAGE, common=True)
    ] = 1500
    seed: Annotated[int, Option("Seed of random choices.", at_least=0)] = 1
