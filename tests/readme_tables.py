"""The README's option tables, made from the commands themselves.

python -m tests.readme_tables     rewrites them in README.md
"""

import re
from pathlib import Path

from charnn.cli.registry import COMMANDS, import_command

README = Path(__file__).parent.parent / "README.md"


def table(command: str) -> str:
    """Return a command's arguments and options as a Markdown table."""
    rows = ["| argument or option | what |", "| --- | --- |"]
    for parameter in import_command(command).params:
        names = [*parameter.opts, *parameter.secondary_opts]
        spelled = (
            ", ".join(f"`{name}`" for name in names)
            if names[0].startswith("-")
            else f"`{parameter.metavar or names[0].upper()}`"
        )
        help_text = parameter.help or ""
        shown = parameter.show_default
        help_text += f" (default: {shown})" if isinstance(shown, str) else ""
        rows.append(f"| {spelled} | {_escaped(help_text)} |")
    return "\n".join(row for row in rows if "`--debug`" not in row)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def with_tables(text: str) -> str:
    """Return the README with its tables made anew."""
    for command in COMMANDS:
        pattern = rf"(<!-- options of {command} -->\n).*?(<!-- end -->)"
        text = re.sub(
            pattern, lambda found, name=command: f"{found[1]}{table(name)}\n{found[2]}", text, flags=re.DOTALL
        )
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
