import importlib
import inspect
from typing import Literal

import pytest

from charnn.cli.registry import COMMANDS
from charnn.cli.values import PlainReader, plain_value
from tests.test_architecture import modules_after


@pytest.mark.parametrize("name", COMMANDS)
def test_the_overview_says_what_the_commands_say_of_themselves(name):
    command = getattr(importlib.import_module(f"charnn.cli.commands.{name}"), name)
    assert " ".join(inspect.getdoc(command).split("\n\n")[0].split("\n")) == COMMANDS[name]


def test_the_overview_names_all_commands_and_options(charnn):
    shown = charnn("--help").out
    assert all(f"│ {name} " in shown for name in COMMANDS)
    assert all(option in shown for option in ("--version", "-h, --help", "--help-all"))
    assert shown.count("--debug") == 1
    assert charnn().out == shown


def test_the_overview_imports_no_command():
    loaded = modules_after("--help")
    assert not loaded & {
        "numpy",
        "torch",
        "pydantic",
        "rich.markdown",
        *(f"charnn.cli.commands.{name}" for name in COMMANDS),
    }
    assert not [name for name in loaded if name.startswith("charnn.config.")]


def test_a_command_imports_no_other_and_its_own_options_only(run):
    """Those of training too: they are part of what a model's `config.json` says."""
    loaded = modules_after("sample", "The", "-n", 5, "-t", 0.5, "--format", "jsonl", "-m", run)
    commands = {name for name in COMMANDS if f"charnn.cli.commands.{name}" in loaded}
    assert commands == {"sample"}
    others = {f"charnn.config.{name}" for name in ("training", "scoring", "inspection")}
    assert not loaded & {"pydantic", "torch", "sentencepiece", "regex", "concurrent.futures", *others}


def test_a_model_of_characters_loads_nothing_for_words_or_adaptation(run):
    loaded = modules_after("score", "--text", "The fox", "--format", "jsonl", "-m", run)
    assert not loaded & {"regex", "charnn.storage.adaptation", "charnn.ngrams.adaptive_model"}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("", str, ""),
        ("any text", str, "any text"),
        ("-12", int, -12),
        ("007", int, 7),
        ("0.25", float, 0.25),
        ("3", float, 3.0),
        ("1e-3", float, 0.001),
        ("b", Literal["a", "b"], "b"),
        # what follows is left to typer, which knows more spellings, and how to refuse one
        ("1_000", int, None),
        ("٣", int, None),
        ("1.0", int, None),
        ("nan", float, None),
        (".5", float, None),
        ("c", Literal["a", "b"], None),
        ("1", Literal[1, 2], None),
        ("yes", bool, None),
        (1, int, None),
    ],
)
def test_plain_values_are_read_and_others_left_alone(text, kind, value):
    found = plain_value(text, kind)
    assert found == value
    assert type(found) is type(value)


class Parameter:
    def __init__(self, multiple):
        self.multiple, self.nargs = multiple, 1


class Fallback:
    def coerce(self, value, param, ctx):  # noqa: ARG002
        return ("typer", value)


@pytest.mark.parametrize(
    ("kind", "multiple", "value", "read"),
    [
        (int, False, None, None),
        (int, False, "5", 5),
        (int, False, "five", ("typer", "five")),
        (list[int], True, None, ()),
        (list[int], True, ("1", "2"), [1, 2]),
        (list[int], True, ("1", "two"), ("typer", ("1", "two"))),
        (list[int], True, "12", ("typer", "12")),
    ],
)
def test_a_parameter_is_read_plainly_as_a_whole_or_by_typer(kind, multiple, value, read):
    assert PlainReader(kind, Fallback).coerce(value, Parameter(multiple), None) == read


@pytest.mark.parametrize("value", ["1_000", " 7", "+7", "7"])
def test_spellings_that_typer_knows_stay_valid(charnn, run, value):
    assert charnn("sample", "The", "-n", value, "--seed", 1, "-m", run).status == 0
