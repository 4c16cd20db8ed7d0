"""Which commands there are. Each is imported when it is called, and `charnn --help` imports none of them."""

import importlib
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from charnn.cli.output import console
from charnn.cli.values import read_plainly

COMMANDS = {
    "train": "Train a model on text: charnn train book.txt.",
    "sample": 'Write new text: charnn sample "Once upon" -n 300 -t 0.8.',
    "score": 'Say how probable a text is: charnn score --text "The cats were full".',
    "compare": (
        "Say by how much two models differ on a text, and whether it may be chance: "
        "charnn compare runs/a runs/b held_out.txt."
    ),
    "predict": 'Show the next token\'s distribution: charnn predict "The cats, which already ate, ".',
    "fill": 'Fill a gap: charnn fill "The cats ____ full." --candidates was,were.',
    "tokenize": "Show the tokens and ids (classes) of a text, and what becomes <unk>.",
    "info": "Say what a model is, how it was made and how good it is.",
    "recipes": "List recipes: published settings, their size and source.",
}
"""What `charnn --help` says of each: the first line of the docstring of a function of that name, in a module of that name."""


def add_commands(app: typer.Typer) -> None:
    """Make the commands known by name to an application whose class is `LazyGroup`."""
    for name, summary in COMMANDS.items():
        app.command(name, help=summary)(_not_imported)


def _not_imported() -> None:
    """Stand for a command until it is called."""


def import_command(name: str) -> Any:
    """Return one of `COMMANDS`, with its options."""
    function = getattr(importlib.import_module(f"charnn.cli.commands.{name}"), name)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, cls=_Command)(function)
    return typer.main.get_command(app)


class _Command(TyperCommand):
    """A command whose plain values are read quickly."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        read_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)


class LazyGroup(TyperGroup):
    """Imports a command when it is called, and shows the overview itself.

    typer's own help needs a reader of Markdown, whose import takes longer than all the rest of `charnn --help`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the command's name."""
        read_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name of the command that the arguments begin with, the command, and the other arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, import_command(name) if name in COMMANDS else command, rest

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Show what there is, as typer shows the help of a command."""
        from rich.padding import Padding
        from rich.panel import Panel
        from rich.table import Table

        console.show(Padding(self.get_usage(ctx).rstrip(), 1))
        console.show(Padding(self.help or "", (0, 1, 1, 1)))
        for title, rows in (("Options", self._option_rows(ctx)), ("Commands", iter(COMMANDS.items()))):
            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column(style="bold cyan", no_wrap=True)
            for name, text in rows:
                table.add_row(name, text)
            console.show(Panel(table, title=title, title_align="left", border_style="dim"))

    def _option_rows(self, ctx: Any) -> Iterator[tuple[str, str]]:
        records = (parameter.get_help_record(ctx) for parameter in self.get_params(ctx))
        yield from (record for record in records if record is not None)
