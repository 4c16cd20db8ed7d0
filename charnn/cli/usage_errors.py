"""Error messages for wrong usage, in one line."""

from collections.abc import Iterable
from typing import Any

import typer

from charnn.options import nearest_name

_NOT_UTF_8 = "Input should be a valid string, unable to parse raw data as a unicode string"
"""How pydantic says that."""
MODEL_FLAGS = ("-m", "--model")


def usage_message(error: typer.TyperException) -> str:
    """Return a message that says what is wrong with a command line, and how to correct it."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else "charnn"
    if context and hasattr(error, "option_name") and hasattr(error, "possibilities"):
        parameters = context.command.get_params(context)
        flags = [flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts)]
        if error.option_name in MODEL_FLAGS and any(parameter.name in ("run", "runs") for parameter in parameters):
            return f"{error.option_name}: no such option; name the model without it: {path} RUN"
        if " " in error.option_name:
            return f"a text that starts with a hyphen is read as an option; put -- before it: {path} -- '- What'"
        flags = [flag for flag in flags if flag.startswith("--") and error.option_name.startswith("--")]
        sees_all = any("--help-all" in parameter.opts for parameter in parameters)
        return no_such("option", error.option_name, flags, see=f"{path} {'--help-all' if sees_all else '--help'}")
    parameters = context.command.params if context else []
    takes_arguments = any(each.param_type_name == "argument" for each in parameters)
    if not takes_arguments and any(MODEL_FLAGS[0] in each.opts for each in parameters):  # of all commands, serve
        return f"{error.format_message().rstrip('.')}; name the model with -m: {path} -m RUN"
    message = error.format_message().replace("Value error, ", "").replace(_NOT_UTF_8, "it is not UTF-8").rstrip(".")
    return f"{message}; see {path} --help"


def no_such(kind: str, name: str, known: Iterable[str], *, see: str) -> str:
    """Return a message that there is no such option or command, with the most similar name.

    Args:
        kind: "option" or "command".
        name: as the user typed it.
        known: the existing names.
        see: the command that lists these.
    """
    shown = name if name.isprintable() else repr(name)
    nearest = nearest_name(name, known)
    return f"{shown}: no such {kind}; " + (f"did you mean {nearest}?" if nearest else f"see {see}")
