"""Facts of one or several models: a table, or one model below the other where the terminal is too narrow for columns."""

from collections.abc import Mapping, Sequence

from charnn.cli.output import console

MIN_VALUE_WIDTH = 24
"""A column for each model is at least this wide."""
MARGIN, INDENT = 2, "  "


def show_facts(names: Sequence[str], facts: Mapping[str, Sequence[str]]) -> None:
    """Write facts of models.

    Args:
        names: the models.
        facts: for each label, the values of all models; a value may have several lines.
    """
    label_width = max(map(console.cell_width, facts))
    if console.terminal_width() < label_width + MARGIN + len(names) * (MIN_VALUE_WIDTH + MARGIN):
        for number, name in enumerate(names):
            _show_list(name, {label: values[number] for label, values in facts.items()})
        return
    table = console.new_table()
    table.add_column("", no_wrap=True, min_width=label_width)
    for name in names:
        table.add_column(name, overflow="fold")
    for label, values in facts.items():
        table.add_row(label, *values)
    console.show(table)


def _show_list(name: str, facts: Mapping[str, str]) -> None:
    """Write each value after its label, or below it if the terminal is too narrow for both."""
    width = console.terminal_width()
    for line in console.wrapped(name, width):
        console.write_line(line)
    first_width = len(INDENT) + max(map(console.cell_width, facts)) + MARGIN
    is_beside = width - first_width >= MIN_VALUE_WIDTH
    for label, value in facts.items():
        if is_beside:
            first, *others = console.wrapped(value, width - first_width) or [""]
            console.write_line((console.padded(INDENT + label, first_width) + first).rstrip())
            for line in others:
                console.write_line(" " * first_width + line)
            continue
        for line in console.wrapped(label, width):
            console.write_line(line)
        for line in console.wrapped(value, max(1, width - len(INDENT))):
            console.write_line(INDENT + line)
