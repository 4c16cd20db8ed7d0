"""The box with a sample: whatever it says, no row of it is wider than the terminal."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from charnn.cli.output import console
from charnn.cli.output.sample_box import sample_box, steady_line

CHINESE = "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。"


def rows_of(text: str, width: int) -> list[str]:
    terminal = Console(file=io.StringIO(), width=width, force_terminal=False)
    terminal.print(sample_box(text, step=7, width=width, max_lines=8))
    return terminal.file.getvalue().splitlines()


def most_columns(row: str) -> int:
    """Return the columns of a row on the terminal that makes it widest, character by character."""
    wide = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in row)
    return wide - sum(unicodedata.category(character) in ("Mn", "Me") for character in row)


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize(
    "text",
    [
        CHINESE * 3,
        "e\u0301" * 50,
        "👍🏽 👨\u200d👩\u200d👧 🇩🇪 ❤\ufe0f " * 5,
        "क्षि हिन्दी की किताब " * 5,
        "कीab☀ " * 9,
        "a\tb\x1b[31m\x07 " * 20,
        "",
        "\n\n",
    ],
    ids=["Chinese", "combining", "emoji", "Devanagari", "few signs", "control", "empty", "line ends"],
)
def test_no_row_of_the_box_is_wider_than_the_terminal(text, width):
    rows = rows_of(text, width)
    assert max(map(console.cell_width, rows)) <= width
    assert max(map(most_columns, rows)) <= width
    assert rows[0].startswith("╭")
    assert rows[-1].endswith("╯")


def test_chinese_fills_the_box_to_its_edge():
    rows = rows_of(CHINESE * 3, 40)
    assert {console.cell_width(row) for row in rows} == {40}
    assert rows[1] == "│ 道可道，非常道。名可名，非常名。無名 │"


@given(st.text(max_size=40))
def test_a_line_has_no_control_characters_and_no_joiners(text):
    shown = steady_line(text)
    assert all(character.isprintable() for character in shown)
    assert not set(shown) & {"\u200d", "\ufe0f", "\U0001f3fd"}
    assert steady_line("héllo, 世界") == "héllo, 世界"


def test_only_the_first_lines_are_shown():
    assert len(rows_of("a\n" * 20, 40)) == 8 + 2
