"""The README keeps its word: its commands run, its tables are current, its gate is the project's own."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.readme_tables import COMMANDS, with_tables

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
QUICK = {"--minutes": "0.04"}


def shell_blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)


def charnn_commands() -> list[str]:
    """Every charnn command of the README's shell blocks, those of the first, joined line taken apart."""
    lines = [line.strip() for block in shell_blocks() for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part.split(" #")[0].strip() for part in parts if part.startswith("charnn ")]


def test_the_option_tables_are_those_of_the_commands():
    assert with_tables(README) == README, "run python -m tests.readme_tables"
    for command in COMMANDS:
        assert f"<!-- options of {command} -->\n| " in README


def test_the_gate_runs_the_readmes_test_command_word_for_word():
    gate = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert gate in README.splitlines()


def test_every_file_that_the_readme_names_exists():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / link).exists(), link


def test_every_module_is_in_the_table_of_rooms():
    for path in sorted((REPOSITORY / "charnn").iterdir()):
        if path.is_dir() and (path / "__init__.py").exists():
            assert f"`{path.name}/`" in README


def test_the_readmes_commands_run_one_after_the_other(charnn, tmp_path):
    """In the README's order, in a fresh directory, with shorter budgets."""
    shutil.copytree(REPOSITORY / "corpora", tmp_path / "corpora")
    commands = charnn_commands()
    assert len(commands) > 12
    for command in commands:
        words = shlex.split(command)[1:]
        for flag, value in QUICK.items():
            if flag in words:
                words[words.index(flag) + 1] = value
        if words[0] == "train" and "--resume" not in words:
            words += ["--hidden-size", "16"]
        if "--resume" in words:
            words[words.index("--minutes") + 1] = "0.1"
        result = charnn(*words)
        assert result.status == 0, f"{command}\n{result.err}"


@pytest.mark.parametrize("name", ["corpora/README.md", "tests/benchmarks/README.md"])
def test_every_file_in_a_folder_stands_in_its_readme(name):
    folder = (REPOSITORY / name).parent
    text = Path(REPOSITORY / name).read_text(encoding="utf-8")
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("README.md", "__init__.py"):
            assert f"`{path.name}`" in text
