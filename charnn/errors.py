"""The exceptions that charnn raises for errors of a user or of the system.

A message says in one line what is wrong, where, what was expected and what to do next. The command line
prints it and exits with `exit_status`. What users should know that is not an error is logged (see `charnn.notices`).
"""

import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class CharnnError(Exception):
    """Base class of the errors that a user can correct."""

    exit_status = 1


class OptionError(CharnnError):
    """An option is out of range, or contradicts another one."""

    exit_status = 2


class UnusedOptionError(OptionError):
    """An option has no effect beside the others.

    Args:
        flags: the option; several if any of them may be meant.
    """

    def __init__(self, message: str, *, flags: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.flags = tuple(flags)


class TextError(CharnnError):
    """A text cannot be read, or is empty."""


class UnknownTokenError(CharnnError):
    """A text contains a token that is not in the vocabulary."""


class ModelError(CharnnError):
    """A model directory is missing, damaged or of an unexpected kind."""


class TrainingError(CharnnError):
    """Training cannot continue."""


class LostRankError(TrainingError):
    """Another of the processes that train together ended, or cannot be reached.

    Args:
        message: what is known of it.
        rank: of the process that noticed it.
        is_reported: whether rank 0 reports it, or has reported it.
    """

    def __init__(self, message: str, rank: int = 0, *, is_reported: bool = False) -> None:
        super().__init__(message)
        self.rank, self.is_reported = rank, is_reported


class ClusterError(CharnnError):
    """Work on several processes or machines cannot begin or continue."""


class StorageError(CharnnError):
    """A file cannot be written."""


_ARGUMENTS = {
    "--ar": "activation_penalty",
    "--bptt": "bptt_length",
    "--carry": "carry_length",
    "--tar": "temporal_penalty",
    "-m": "path",
    "-n": "length",
    "-o": "output",
}
"""The arguments that are not named as the flag is."""
_COMMAND_OR_FLAG = re.compile(
    r"(?P<command>(?<![\w./-])(?:charnn (?:train|compare|info)|pandoc|iconv|tr) .*?(?=;|, or |$))"
    r"|(?<![\w-])(?:--[a-z][a-z-]*[a-z]|-[mno](?![\w-]))"
)
"""A command line in a message, up to a semicolon, ", or" or the end; or a flag outside of one."""


def in_terms_of_arguments(message: str) -> str:
    """Return a message with the flags in it (`--top-k`) replaced by the names of arguments (`top_k`).

    Command lines that a message advises stay as they are.
    """

    def argument(match: re.Match[str]) -> str:
        found = match[0]
        return found if match["command"] else _ARGUMENTS.get(found, found.lstrip("-").replace("-", "_"))

    return _COMMAND_OR_FLAG.sub(argument, message)


def speaking_of_arguments(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Make a function's errors name arguments (`top_k`) instead of command-line options (`--top-k`)."""

    @wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except CharnnError as error:
            error.args = (in_terms_of_arguments(str(error)), *error.args[1:])
            raise

    return wrapped


def first_of(names: Sequence[object], most: int = 1) -> str:
    """Return the first names of a list for a message, and the number of the others."""
    others = len(names) - most
    more = f" and {others:,} other{'s' if others > 1 else ''}" if others > 0 else ""
    return ", ".join(map(str, names[:most])) + more
