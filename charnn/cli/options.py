"""Command-line options made from the dataclasses of `config/`."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args, get_origin

import typer

from charnn.options import Option, OptionValues, declared_options, flags_of

Given = OptionValues
"""The options that the user named, by field name."""

ModelArgument = Annotated[
    str | None,
    typer.Option("-m", "--model", metavar="RUN", help="The model's directory.", show_default="the newest under runs/"),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", show_default=False)]


def with_options(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of some dataclasses; it receives those that the user named as its argument `given`.

    An option that was not named is not passed on, so that a default stands in one place only.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(function).parameters.values()
            if parameter.name != "given"
        ]
        declared = [
            _parameter(group, name, *found) for group in groups for name, found in declared_options(group).items()
        ]
        names = [parameter.name for parameter in declared]
        debug = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DebugOption)

        @functools.wraps(function)
        def command(**arguments: Any) -> None:
            arguments.pop("debug")
            given = {name: arguments.pop(name) for name in names}
            function(
                **arguments, given={name: _frozen(value) for name, value in given.items() if value not in (None, [])}
            )

        command.__signature__ = inspect.Signature([*own, *declared, debug])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *declared, debug)}
        return command

    return decorate


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _parameter(group: type, name: str, kind: Any, option: Option) -> inspect.Parameter:
    default = next(field.default for field in fields(group) if field.name == name)
    assert default is not MISSING, f"option {name} needs a default"
    flags = flags_of(name, option)
    if kind is bool:
        flags = tuple(f"{flag}/--no-{flag.removeprefix('--')}" for flag in flags)
    if get_origin(kind) is tuple:
        kind = list[get_args(kind)[0]]  # type: ignore[misc]
    annotation = Annotated[  # type: ignore[valid-type]
        kind if type(None) in get_args(kind) else kind | None,
        typer.Option(
            *flags,
            help=f"{option.help} (default: {shown_default(default, option)})",
            show_default=False,
            rich_help_panel=option.panel,
        ),
    ]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def shown_default(default: Any, option: Option) -> str:
    """Return a default as `--help` and the README show it."""
    if default == ():
        return "none"
    if isinstance(default, bool):
        return "yes" if default else "no"
    if default is None:
        assert option.automatic, "an option without a default says how its value is found"
        return option.automatic
    return f"{default:g}" if isinstance(default, float) else str(default)
