"""The commands. Each is imported when it is called, and `charnn --help` imports none of them."""

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from charnn.cli.help import paragraphs, rows_of, show_command, show_help
from charnn.cli.usage_errors import no_such
from charnn.cli.values import read_plainly, refuse_second_column, with_empty_values
from charnn.errors import OptionError

COMMANDS = {
    "train": "Train a model on text: charnn train book.txt.",
    "sweep": "Train with several values of options: charnn sweep book.txt --option cell=gru,rnn.",
    "sample": 'Generate text: charnn sample "Once upon" -n 300 -t 0.8.',
    "score": 'Compute the probability of a text: charnn score --text "The cats were full".',
    "compare": (
        "Measure the difference between two models on a text, and its significance: "
        "charnn compare runs/a runs/b test.txt."
    ),
    "predict": 'Show the next token\'s distribution: charnn predict "The cats, which already ate, ".',
    "classify": 'Classify a text by its label, with a model of labels: charnn classify "Speak, speak.".',
    "fill": 'Fill a gap: charnn fill "The cats ____ full." --candidates was,were.',
    "tokenize": "Show the tokens of a text with their ids, and which are unknown.",
    "info": "Describe a model: its architecture, training and metrics.",
    "inspect": "Look inside a network: charnn inspect neurons runs/a --html neurons.html.",
    "report": "Write a report on models, one HTML file: charnn report runs/a.",
    "serve": "Serve models over HTTP with an OpenAI-compatible API: charnn serve -m runs/a --port 8000.",
    "export": "Export a model for browsers, Hugging Face transformers or ONNX: charnn export runs/a --to html.",
    "recipes": "List recipes: published settings, their size and source.",
}
"""The help of each command: the first line of the docstring of the function of that name."""

OF_EVERY_COMMAND = {
    "--help": "Show the common options.",
    "--help-all": "Show every option, by topic.",
    "--debug": "Show the traceback of an error.",
}
"""What `charnn --help` says of the options that every command has."""


def add_commands(app: typer.Typer) -> None:
    """Register the commands with an application whose class is `LazyGroup`, without importing them."""
    for name, summary in COMMANDS.items():
        app.command(name, help=summary)(_not_imported)


def _not_imported() -> None:
    """Placeholder for a command until it is called."""


def import_command(name: str) -> Any:
    """Return one of `COMMANDS`, with its options."""
    function = getattr(importlib.import_module(f"charnn.cli.commands.{name}"), name)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, cls=_Command)(function)
    command = typer.main.get_command(app)
    assert isinstance(command, _Command)
    command.common = function.common
    return command


class _Command(TyperCommand):
    """A command that reads plain values quickly, and whose help shows the common options."""

    common: frozenset[str] = frozenset()
    """The names of the options that `--help` shows; `--help-all` shows every one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        args = with_empty_values(args)
        parameters = self.get_params(ctx)
        read_plainly(parameters)
        refuse_second_column(parameters, args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Show the help with the common options."""
        show_command(ctx, everything=False)


class LazyGroup(TyperGroup):
    """A group that imports a command when it is called, and lists the commands without importing them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments before the command's name."""
        read_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name of the command in the arguments, the command, and the remaining arguments."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise OptionError(no_such("command", args[0], COMMANDS, see=f"{ctx.command_path} --help"))
        name, command, rest = super().resolve_command(ctx, args)
        return name, import_command(name) if name in COMMANDS else command, rest

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """List the commands."""
        rows = rows_of(self.get_params(ctx), frozenset())
        panels = {
            "Options": [(row.label, row.text) for row in rows],
            "Commands": list(COMMANDS.items()),
            "Options of every command": list(OF_EVERY_COMMAND.items()),
        }
        show_help(f"{ctx.command_path} [OPTIONS] COMMAND [ARGS]...", paragraphs(self.help), panels)
