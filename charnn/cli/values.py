"""Parsing of the values of options, without pydantic where they are plain.

typer imports pydantic and builds a validator for each option of a command, set or not, which takes as long as reading a model.
Plain values are parsed here; all others, including invalid ones, are left to typer and its messages.
"""

import itertools
import re
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from charnn.errors import OptionError

INTEGER = re.compile(r"-?[0-9]{1,15}")
ADDRESS = re.compile(r"auto|local|ray://\S+|\S+:[0-9]+")
DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?(e-?[0-9]{1,2})?")


def read_plainly(parameters: list[Any]) -> None:
    """Make a command's parameters parse plain values themselves, if this version of typer allows it."""
    for parameter in parameters:
        if hasattr(parameter, "get_runtime_param") and hasattr(parameter, "type_descriptor"):
            kind = parameter.type_descriptor.annotation
            reader = PlainReader(kind, parameter.get_runtime_param)
            parameter.get_runtime_param = reader.itself


class PlainReader:
    """Replaces the object with which typer parses a parameter's values.

    Args:
        kind: the type of a value.
        fallback: returns typer's own object.
    """

    def __init__(self, kind: Any, fallback: Callable[[], Any]) -> None:
        self._kind, self._fallback = kind, fallback

    def itself(self) -> "PlainReader":
        """Return this reader."""
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a parameter's value; if it was not set, None, or () for a list."""
        is_list = param.multiple or param.nargs == -1
        if value is None:
            return () if is_list else None
        if is_list and get_origin(self._kind) is list and isinstance(value, (list, tuple)):
            (kind,) = get_args(self._kind)
            values = [plain_value(item, kind) for item in value]
            if None not in values:
                return values
        elif not is_list:
            single = plain_value(value, self._kind)
            if single is not None:
                return single
        return self._fallback().coerce(value, param=param, ctx=ctx)


def with_empty_values(arguments: list[str]) -> list[str]:
    """Return arguments with an empty value after each `--ray` that no address of a cluster follows.

    What else follows is an argument of its own, such as a file.
    """
    found = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        found.append(argument)
        if argument == "--ray" and not ADDRESS.fullmatch(following):
            found.append("")
    return found


def refuse_second_column(parameters: list[Any], arguments: list[str]) -> None:
    """Refuse two columns for a command that reads one, since the last would be read without a word. Raises OptionError."""
    if not any(parameter.name == "column" and not parameter.multiple for parameter in parameters):
        return
    found: list[str] = []
    for argument, following in itertools.pairwise([*itertools.takewhile(lambda each: each != "--", arguments), ""]):
        if argument == "--column":
            found.append(following)
        elif argument.startswith("--column="):
            found.append(argument.removeprefix("--column="))
    first, *others = dict.fromkeys(found) or [""]
    if others:
        raise OptionError(f"--column: found {first} and {others[0]}, but one column is read; name one of them")


def plain_value(text: Any, kind: Any) -> Any:
    """Return the value of a plain spelling, or None for any other text."""
    if not isinstance(text, str):
        return None
    if kind is str:
        return text
    if kind is int and INTEGER.fullmatch(text):
        return int(text)
    if kind is float and DECIMAL.fullmatch(text):
        return float(text)
    if get_origin(kind) is Literal and text in get_args(kind):
        return text
    return None
