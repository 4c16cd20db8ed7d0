"""Command-line options made from the dataclasses of `config/`."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args, get_origin

import typer

from charnn.cli.help import show_command
from charnn.interrupts import signal_of
from charnn.options import Option, OptionValues, choices_of, declared_options, flags_of

Overrides = OptionValues
"""The options that the user set, by field name."""


class Common:
    """Marks a command's own option as one that `--help` shows; others are shown by `--help-all` alone."""


COMMON = Common()


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        show_command(ctx, everything=True)
        raise typer.Exit


ModelArgument = Annotated[
    str | None,
    typer.Option("-m", "--model", metavar="RUN", help="The model's directory.", show_default="the newest under runs/"),
    COMMON,
]
_FOR_EVERY_COMMAND = {
    "debug": typer.Option("--debug", help="Show the traceback of an error.", show_default=False),
    "help_all": typer.Option(
        "--help-all", help="Show every option, by topic, and exit.", callback=_show_all, is_eager=True
    ),
}
_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT"}


def with_options(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of dataclasses to a command, which receives those that the user set as `overrides`.

    An option that was not set is not passed on, so that each default is declared once.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(function).parameters.values()
            if parameter.name != "overrides"
        ]
        options = {name: (group, *each) for group in groups for name, each in declared_options(group).items()}
        declared = [_parameter(group, name, kind, option) for name, (group, kind, option) in options.items()]
        for_all = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])
            for name, option in _FOR_EVERY_COMMAND.items()
        ]

        @functools.wraps(function)
        def command(**arguments: Any) -> None:
            values = {name: arguments.pop(name) for name in options}
            overrides = {name: _frozen(value) for name, value in values.items() if value not in (None, [])}
            own_arguments = {name: value for name, value in arguments.items() if name not in _FOR_EVERY_COMMAND}
            try:
                function(**own_arguments, overrides=overrides)
            except KeyboardInterrupt as interrupt:  # typer takes each for Ctrl-C
                raise typer.Exit(128 + signal_of(interrupt)) from interrupt

        parameters = [*own, *declared, *for_all]
        marked = {each.name for each in own if COMMON in get_args(each.annotation)}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.common = marked | {name for name, (*_, option) in options.items() if option.common}  # type: ignore[attr-defined]
        return command

    return decorate


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _parameter(group: type, name: str, kind: Any, option: Option) -> inspect.Parameter:
    default = next(field.default for field in fields(group) if field.name == name)
    assert default is not MISSING, f"option {name} needs a default"
    flags = flags_of(name, option)
    if bool in (kind, *get_args(kind)):
        flags = tuple(f"{flag}/--no-{flag.removeprefix('--')}" for flag in flags)
    read_as = list[get_args(kind)[0]] if get_origin(kind) is tuple else kind  # type: ignore[misc]
    annotation = Annotated[  # type: ignore[valid-type]
        read_as if type(None) in get_args(read_as) else read_as | None,
        typer.Option(
            *flags,
            metavar=_metavar(kind, option),
            help=f"{option.help} ({_one_of(kind)}default: {shown_default(default, option)})",
            show_default=False,
            rich_help_panel=option.panel,
        ),
    ]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(kind: Any, option: Option) -> str | None:
    """Return the placeholder of an option's value, or None for a switch."""
    if option.metavar or bool in (kind, *get_args(kind)):
        return option.metavar or None
    return next((_METAVARS[part] for part in (kind, *get_args(kind)) if part in _METAVARS), "NAME")


def _one_of(kind: Any) -> str:
    choices = ", ".join(map(str, choices_of(kind)))
    return f"one of {choices}; " if choices else ""


def shown_default(default: Any, option: Option) -> str:
    """Return a default as `--help` and the option reference show it."""
    if default == ():
        return "none"
    if isinstance(default, bool):
        return "yes" if default else "no"
    if default is None:
        assert option.automatic, "an option without a default says how its value is chosen"
        return option.automatic
    return f"{default:g}" if isinstance(default, float) else str(default)
