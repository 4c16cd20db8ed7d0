"""What `--help` and `--help-all` show, what is proposed for a wrong option, and the option reference."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest

from charnn.cli.help import Row, by_panel
from charnn.cli.options import with_options
from charnn.cli.reference import page
from charnn.cli.registry import COMMANDS, import_command
from charnn.options import _SYNONYMS, Checked, Option, nearest_name
from tests.conftest import REPOSITORY


def labels(shown: str) -> set[str]:
    """The long flags that a help screen describes: those of its left column."""
    lines = [line.removeprefix("│ ") for line in shown.splitlines() if line.startswith("│ -")]
    words = [word.strip(",") for line in lines for word in line.split("  ")[0].split()]
    return {word for word in words if word.startswith("--")}


def flags_of_command(name: str) -> set[str]:
    """Every long flag of a command as the help writes it."""
    found = set()
    for parameter in import_command(name).params:
        for flag in parameter.opts:
            if flag.startswith("--"):
                found.add(f"--[no-]{flag[2:]}" if parameter.secondary_opts else flag)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_on_a_screen(charnn, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    shown = charnn(name, "--help").out
    assert len(shown.splitlines()) <= 45
    assert max(map(len, shown.splitlines())) <= 80
    assert {"--help", "--help-all"} <= labels(shown) < flags_of_command(name) | {"--help"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_all_shows_every_option_under_its_heading(charnn, name):
    shown = charnn(name, "--help-all").out
    assert labels(shown) == flags_of_command(name) | {"--help"}
    headings = {getattr(parameter, "rich_help_panel", None) for parameter in import_command(name).params} - {None}
    assert all(f"─ {heading} ─" in shown for heading in headings)


def test_the_help_of_training_shows_what_most_people_need(charnn):
    shown = labels(charnn("train", "--help").out)
    assert {"--output", "--minutes", "--cell", "--tokenizer", "--resume", "--seed"} <= shown
    assert not {"--tar", "--hold", "--debug", "--mogrifier-rank"} & shown


def test_help_all_goes_before_what_is_wrong_with_the_rest(charnn):
    shown = charnn("predict", "--help-all")
    assert (shown.status, shown.err) == (0, "")


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    often: Annotated[int, Option("Needed often.", common=True)] = 3
    rarely: Annotated[bool, Option("Needed rarely.", panel="Rare things")] = False


def test_an_option_is_common_where_it_is_declared_so():
    @with_options(Options)
    def command(*, given):
        return given

    assert command.common == {"often"}


def test_a_switch_is_written_with_its_negation():
    row = Row(("--echo",), ("--no-echo",), "", "Write the prompt.", "Output", False)
    assert row.label == "--[no-]echo"
    assert Row(("-t", "--temperature"), (), "X", "", "Options", True).label == "-t, --temperature X"


def test_arguments_and_plain_options_stand_before_the_other_headings():
    rows = [
        Row((name,), (), "", "", panel, False)
        for name, panel in (("--b", "Topic"), ("--c", "Options"), ("A", "Arguments"))
    ]
    assert list(by_panel(rows)) == ["Arguments", "Options", "Topic"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "--temprature", 2), "--temprature: no such option; did you mean --temperature?"),
        (("sample", "--temp=2"), "--temp: no such option; did you mean --temperature?"),
        (("sample", "--no-ecko"), "--no-ecko: no such option; did you mean --no-echo?"),
        (("train", "x.txt", "--lr", 2), "--lr: no such option; did you mean --learning-rate?"),
        (("train", "x.txt", "--seq-len=2"), "--seq-len: no such option; did you mean --bptt?"),
        (("sample", "--num-beams", 2), "--num-beams: no such option; did you mean --beam?"),
        (("sample", "--max-new-tokens", 2), "--max-new-tokens: no such option; did you mean --length?"),
        (("export", "-m", "a"), "-m: no such option; name the model without it: charnn export RUN"),
        (("serve", "runs/a"), "Got unexpected extra argument(s) (runs/a); name the model with -m: charnn serve -m RUN"),
        (("score", "--lr", 2), "--lr: no such option; see charnn score --help-all"),
        (("train", "x.txt", "--hidden_size", 2), "--hidden_size: no such option; did you mean --hidden-size?"),
        (("train", "--hlep-all"), "--hlep-all: no such option; did you mean --help-all?"),
        (("score", "--qqqq"), "--qqqq: no such option; see charnn score --help-all"),
        (("score", "-q"), "-q: no such option; see charnn score --help-all"),
        (("--versoin",), "--versoin: no such option; did you mean --version?"),
        (("--qqqq",), "--qqqq: no such option; see charnn --help"),
        (("smaple", "The"), "smaple: no such command; did you mean sample?"),
        (("SCORE",), "SCORE: no such command; did you mean score?"),
        (("qqqq",), "qqqq: no such command; see charnn --help"),
        (("a\x1b[1mb\n",), "'a\\x1b[1mb\\n': no such command; see charnn --help"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_there_is_not_is_refused_with_the_nearest_that_there_is(charnn, arguments, message):
    refused = charnn(*arguments)
    assert (refused.status, refused.out, refused.err) == (2, "", f"charnn: error: {message}\n")


def test_what_other_tools_call_an_option_is_none_of_ours_and_leads_to_one_that_exists():
    flags = {
        name: {flag.removeprefix("--").removeprefix("[no-]") for flag in flags_of_command(name)} for name in COMMANDS
    }
    for other, name in _SYNONYMS.items():
        assert any(name in each for each in flags.values()), name
        assert all(other not in each or name not in each for each in flags.values()), other


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("--top-j", "--top-k"), ("--tk", "--top-k"), ("--le", "--length"), ("--zzz", None), ("--", None), ("", None)],
)
def test_the_nearest_name(name, nearest):
    assert nearest_name(name, ["--top-k", "--length"]) == nearest


def test_the_option_reference_is_current():
    written = (REPOSITORY / "charnn" / "cli" / "OPTIONS.md").read_text(encoding="utf-8")
    assert written == page(), "run python -m charnn.cli.reference > charnn/cli/OPTIONS.md"


def test_the_option_reference_names_every_option_of_every_command():
    sections = dict(section.split("\n", 1) for section in page().split("\n## charnn ")[1:])
    assert list(sections) == list(COMMANDS)
    for name, text in sections.items():
        for parameter in import_command(name).params:
            spellings = [*parameter.opts, *parameter.secondary_opts]
            if spellings[0].startswith("-") and spellings[-1] not in ("--debug", "--help-all"):
                assert all(f"`{spelling}`" in text or f"`{spelling} " in text for spelling in spellings)


def test_the_option_reference_is_printed():
    command = [sys.executable, "-m", "charnn.cli.reference"]
    printed = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8")
    assert printed == page()
