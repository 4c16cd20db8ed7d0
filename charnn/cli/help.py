"""The text of `--help` and `--help-all`, and the rows from which the option reference is written.

typer's own help needs a Markdown parser, whose import takes longer than all the rest of `--help`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from charnn.cli.output import console

ARGUMENTS, OPTIONS, COMMON_OPTIONS = "Arguments", "Options", "Common options"
FOR_HELP = ("help_all", "help")


@dataclass(frozen=True)
class Row:
    """An argument or option as the help shows it.

    Args:
        spellings: an option's flags, or an argument's name.
        negations: the flags that switch it off.
        metavar: the placeholder of its value; empty for a switch.
        text: its description, with its choices and default.
        panel: its heading.
        is_common: whether `--help` shows it too, not only `--help-all`.
    """

    spellings: tuple[str, ...]
    negations: tuple[str, ...]
    metavar: str
    text: str
    panel: str
    is_common: bool

    @property
    def label(self) -> str:
        """The spelling of the option, such as `-t, --temperature X`; `--[no-]echo` if it can be switched off."""
        flags = [f"--[no-]{flag.removeprefix('--')}" if self.negations else flag for flag in self.spellings]
        return ", ".join(flags) + (f" {self.metavar}" if self.metavar else "")


def rows_of(parameters: Iterable[Any], common: frozenset[str]) -> list[Row]:
    """Return the rows of a command's parameters, arguments first.

    Args:
        parameters: those that typer made from the command's signature.
        common: the names of the options that `--help` shows.
    """
    rows = [_row(parameter, common) for parameter in parameters if not getattr(parameter, "hidden", False)]
    return sorted(rows, key=lambda row: row.panel != ARGUMENTS)


def _row(parameter: Any, common: frozenset[str]) -> Row:
    is_argument = not parameter.opts[0].startswith("-")
    default = f" (default: {parameter.show_default})" if isinstance(parameter.show_default, str) else ""
    return Row(
        spellings=(argument_name(parameter),) if is_argument else tuple(sorted(parameter.opts, key=_is_long)),
        negations=tuple(parameter.secondary_opts),
        metavar="" if is_argument else parameter.metavar or "",
        text=(parameter.help or "") + default,
        panel=ARGUMENTS if is_argument else getattr(parameter, "rich_help_panel", None) or OPTIONS,
        is_common=is_argument or parameter.name in common or parameter.name in FOR_HELP,
    )


def _is_long(flag: str) -> bool:
    return flag.startswith("--")


def argument_name(parameter: Any) -> str:
    """Return an argument's name in the usage line, such as `TEXT...`."""
    return str(parameter.metavar or parameter.name.upper())


def usage_of(path: str, parameters: Iterable[Any]) -> str:
    """Return the usage line of a command, such as `charnn sample [OPTIONS] [PROMPT]`."""
    arguments = [parameter for parameter in parameters if not parameter.opts[0].startswith("-")]
    names = [argument_name(each) if each.required else f"[{argument_name(each)}]" for each in arguments]
    return " ".join([path, "[OPTIONS]", *names])


def by_panel(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by heading: arguments, options without a heading, then the other headings in order."""
    panels: dict[str, list[Row]] = {ARGUMENTS: [], OPTIONS: []}
    for row in rows:
        panels.setdefault(row.panel, []).append(row)
    return {name: panel_rows for name, panel_rows in panels.items() if panel_rows}


def paragraphs(text: str | None) -> list[str]:
    """Return the paragraphs of a docstring, each on one line."""
    return [" ".join(part.split()) for part in (text or "").split("\n\n")]


def show_command(ctx: Any, *, everything: bool) -> None:
    """Show the help of a command.

    Args:
        ctx: typer's context of the call.
        everything: show every option under its heading, not only the common ones.
    """
    command = ctx.command
    rows = rows_of(command.get_params(ctx), command.common)
    if everything:
        panels = by_panel(rows)
    else:
        common = [row for row in rows if row.is_common]
        panels = {
            ARGUMENTS: [row for row in common if row.panel == ARGUMENTS],
            COMMON_OPTIONS: [row for row in common if row.panel != ARGUMENTS],
        }
    show_help(
        usage_of(ctx.command_path, command.params),
        paragraphs(command.help),
        {name: [(row.label, row.text) for row in panel_rows] for name, panel_rows in panels.items() if panel_rows},
    )


def show_help(usage: str, description: Sequence[str], panels: dict[str, list[tuple[str, str]]]) -> None:
    """Show a usage line, paragraphs, and tables of names with their descriptions."""
    from rich import padding, panel, table

    console.show(padding.Padding(f"Usage: {usage}", (1, 1, 0, 1)))
    for paragraph in description:
        console.show(padding.Padding(paragraph, (1, 1, 0, 1)))
    for title, rows in panels.items():
        rows_shown = table.Table.grid(padding=(0, 2, 0, 0))
        rows_shown.add_column(style="bold cyan", no_wrap=True)
        for name, text in rows:
            rows_shown.add_row(name, text)
        console.show(panel.Panel(rows_shown, title=title, title_align="left", border_style="dim"))
