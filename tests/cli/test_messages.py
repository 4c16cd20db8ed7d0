"""Each option and command that a message of the package names exists, for the commands that can show the message."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from charnn.cli.registry import COMMANDS, import_command
from tests.conftest import REPOSITORY

OPTION = re.compile(r"(?<!style=\")(?<![\w{}-])--[a-z][a-z-]*[a-z](?!-?{)")
COMMAND = re.compile(r"(?<![\w./-])charnn ([a-z][a-z-]*)\b((?: [^\s,;:()]+)*)")
VERBS = {"that", "which", "never", "does", "reads", "is", "knows", "file", "for", "model"}
"""What follows charnn where the program is meant, not a command line."""
SHOWN_BY = {
    "cli/commands/compare": ["compare"],
    "cli/commands/fill": ["fill"],
    "cli/commands/info": ["info"],
    "cli/commands/predict": ["predict"],
    "cli/commands/recipes": ["recipes"],
    "cli/commands/sample": ["sample"],
    "cli/commands/score": ["score"],
    "cli/commands/tokenize": ["tokenize"],
    "cli/commands/train": ["train"],
    "cli/output/training_screen": ["train"],
    "config/model": ["train"],
    "config/sampling": ["sample"],
    "config/scoring": ["score", "compare", "fill", "predict"],
    "config/text": ["train"],
    "config/training": ["train"],
    "recipes": ["train"],
    "sampling": ["sample"],
    "sampling/completion": ["predict"],
    "scoring": ["score", "compare", "fill", "predict"],
    "text/tokenizer_training": ["train"],
    "training": ["train"],
}
"""The commands that show a module's messages; every command where nothing is said."""
OF_ANOTHER_COMMAND = {
    ("cli/commands/train", "--mix-ngram"): "sample",
    ("config/text", "--spell"): "score",
    ("config/training", "--dynamic"): "score",
    ("config/training", "--novelty"): "sample",
    ("sampling/build", "--tokenizer"): "train",
}
"""Options that a message names for later use with another command."""


@dataclass(frozen=True)
class Message:
    """A text in a module, with {} for what is inserted."""

    module: str
    line: int
    text: str

    def __str__(self):
        return f"{self.module}:{self.line}"

    @property
    def commands(self):
        fitting = [prefix for prefix in SHOWN_BY if self.module.startswith(prefix)]
        shown_by = SHOWN_BY[max(fitting, key=len)] if fitting else [*COMMANDS]
        is_for_training = re.search(r"\b(train|trained|restart|resume)\b", self.text)
        return {*shown_by, *(["train"] if is_for_training else []), *(name for name, _ in COMMAND.findall(self.text))}


def spelled(node):
    """Return the text of a literal or formatted string; {} stands for what is inserted."""
    if isinstance(node, ast.JoinedStr):
        return "".join(spelled(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "{}"


def messages_in(path):
    """Yield the strings of a module that are not docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            left_out.add(node.value)
        if isinstance(node, ast.JoinedStr):
            left_out |= {part for part in ast.walk(node) if part is not node}
    module = path.relative_to(REPOSITORY / "charnn").with_suffix("").as_posix()
    for node in ast.walk(tree):
        if isinstance(node, (ast.JoinedStr, ast.Constant)) and node not in left_out and spelled(node) != "{}":
            yield Message(module, node.lineno, spelled(node))


MESSAGES = [message for path in sorted((REPOSITORY / "charnn").rglob("*.py")) for message in messages_in(path)]


def options_of(command):
    """Return the options of a command by flag, with the choices of their values or None."""
    flags = {"--help": None, "--help-all": None, "--debug": None, "--version": None}
    for parameter in import_command(command).params:
        choices = getattr(parameter.type_descriptor, "choices", None)
        for flag in (*parameter.opts, *parameter.secondary_opts):
            flags[flag] = None if choices is None else {str(choice) for choice in choices}
    return flags


@pytest.fixture(scope="module")
def options():
    return {command: options_of(command) for command in COMMANDS}


def test_the_messages_are_found():
    texts = [message.text for message in MESSAGES]
    assert sum(bool(OPTION.search(text)) for text in texts) > 200
    assert "it looks like {}: pass --encoding {}" in texts


def test_every_option_in_a_message_is_one_of_the_command_that_shows_it(options):
    unknown = []
    for message in MESSAGES:
        for flag in OPTION.findall(message.text):
            other = OF_ANOTHER_COMMAND.get((message.module, flag))
            commands = [other] if other else message.commands
            if not any(flag in options[command] for command in commands if command in options):
                unknown.append(f"{message}: {flag} is none of {sorted(commands)}: {message.text}")
    assert not unknown, "\n".join(unknown)


def test_every_exception_is_needed(options):
    for (module, flag), command in OF_ANOTHER_COMMAND.items():
        assert flag in options[command]
        assert any(flag in message.text for message in MESSAGES if message.module == module)
    assert all(
        (REPOSITORY / "charnn" / prefix).exists() or list(Path(REPOSITORY / "charnn").glob(f"{prefix}*"))
        for prefix in SHOWN_BY
    )


def test_every_value_in_a_message_is_a_choice_of_its_option(options):
    unknown, num_checked = [], 0
    for message in MESSAGES:
        for flag, value in re.findall(rf"({OPTION.pattern}) ([a-z][\w-]*)", message.text):
            choices = [options[command].get(flag) for command in message.commands if flag in options.get(command, ())]
            known = set().union(*(each or () for each in choices))
            num_checked += value in known
            if known and value not in known and value not in {"and", "or", "with", "is", "out", "to"}:
                unknown.append(f"{message}: {flag} takes {sorted(known)}: {message.text}")
    assert not unknown, "\n".join(unknown)
    assert num_checked > 50


def test_every_command_in_a_message_exists_with_its_options(options):
    unknown = []
    for message in MESSAGES:
        for name, rest in COMMAND.findall(message.text):
            if name not in COMMANDS and name not in VERBS:
                unknown.append(f"{message}: charnn {name}: {message.text}")
            for flag in re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest) if name in COMMANDS else ():
                if flag not in options[name]:
                    unknown.append(f"{message}: charnn {name} {flag}: {message.text}")
    assert not unknown, "\n".join(unknown)
