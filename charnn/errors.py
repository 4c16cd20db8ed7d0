"""What can go wrong that is not charnn's fault, as a tree of exceptions.

A message says what is wrong, where, what was found, what was wanted and what to do next, in one line. The command line
prints it and exits with `exit_status`. What users should know that is not an error is logged (see `charnn.notices`).
"""

import re
from collections.abc import Sequence


class CharnnError(Exception):
    """Something in what was given cannot be used."""

    exit_status = 1


class OptionError(CharnnError):
    """An option is out of its range, or contradicts another one."""

    exit_status = 2


class IneffectiveOptionError(OptionError):
    """An option would do nothing beside the others.

    Args:
        flags: its spelling; several where any of them may be meant.
    """

    def __init__(self, message: str, *, flags: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.flags = tuple(flags)


class TextError(CharnnError):
    """A text cannot be read, or holds nothing to learn from."""


class UnknownTokenError(CharnnError):
    """A text holds a token that the vocabulary does not."""


class ModelError(CharnnError):
    """A model directory is missing, damaged, or of another kind than expected."""


class TrainingError(CharnnError):
    """Training cannot go on."""


class StorageError(CharnnError):
    """A file cannot be written."""


def in_terms_of_arguments(message: str) -> str:
    """Return a message that names options as the command line does (`--top-k`) with the names of arguments (`top_k`)."""
    return re.sub(r"(?<![\w-])--([a-z][a-z-]*[a-z])", lambda found: found[1].replace("-", "_"), message)
