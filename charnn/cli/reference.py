"""The option reference: every option of every command, by topic, as a page of Markdown.

python -m charnn.cli.reference > charnn/cli/OPTIONS.md
"""

from typing import Any

from charnn.cli.help import ARGUMENTS, OPTIONS, Row, by_panel, paragraphs, rows_of, usage_of
from charnn.cli.output import console
from charnn.cli.registry import COMMANDS, import_command

ABOUT = """\
# Options

Every option of every command, written by `python -m charnn.cli.reference` from the declarations in
[charnn/config](../config/__init__.py) and the commands' own. `charnn COMMAND --help` shows the options in **bold**,
`charnn COMMAND --help-all` all of them. `charnn COMMAND --debug` shows the traceback of an error.
"""
EVERYWHERE = ("--debug", "--help-all")


def page() -> str:
    """Return the whole page."""
    contents = " · ".join(f"[{name}](#charnn-{name})" for name in COMMANDS)
    return "\n".join([ABOUT, f"{contents}\n", *(_section(name) for name in COMMANDS)])


def _section(name: str) -> str:
    command: Any = import_command(name)
    rows = [row for row in rows_of(command.params, command.common) if row.spellings[-1] not in EVERYWHERE]
    parts = [f"## charnn {name}", f"```text\n{usage_of(f'charnn {name}', command.params)}\n```"]
    parts += [_escaped(paragraph) for paragraph in paragraphs(command.help)]
    panels = by_panel(rows)
    for title, found in panels.items():
        heading = [f"### {title}"] if title not in (ARGUMENTS, OPTIONS) else []
        kind = "argument" if title == ARGUMENTS else "option"
        parts += [*heading, "\n".join([f"| {kind} | what |", "| --- | --- |", *map(_line, found)])]
    return "\n\n".join(parts) + "\n"


def _line(row: Row) -> str:
    names = [*row.spellings, *row.negations]
    names[-1] += f" {row.metavar}" if row.metavar else ""
    label = ", ".join(f"`{name}`" for name in names)
    is_bold = row.is_common and row.panel != ARGUMENTS
    return f"| {f'**{label}**' if is_bold else label} | {_escaped(row.text)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("____", "\\_\\_\\_\\_")


if __name__ == "__main__":
    console.prepare_streams()
    console.write(page())
