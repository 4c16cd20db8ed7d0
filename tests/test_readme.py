"""The README and those of the rooms keep their word: their commands run, their links lead somewhere, every room is named."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charnn.cli.reference import page
from charnn.cli.registry import COMMANDS
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ROOMS = sorted(
    (path for path in (REPOSITORY / "charnn").rglob("README.md")),
    key=lambda path: README.index(f"]({path.relative_to(REPOSITORY).as_posix()})"),
)
"""The READMEs of the rooms, in the order in which the README links to them."""
PAGES = [REPOSITORY / "README.md", *ROOMS, REPOSITORY / "charnn" / "cli" / "OPTIONS.md"]
PAGES += [REPOSITORY / "corpora" / "README.md", REPOSITORY / "tests" / "benchmarks" / "README.md"]
QUICK = {"--minutes": ("--steps", "2"), "--rollout": ("--rollout", "3")}


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


OTHER_COMMANDS = ("printf ", "for ", "python -c ")
"""Lines of the shell blocks that run as they stand: they make small files, or read results."""


def shell_commands(path: Path) -> list[str]:
    """Return the commands of a page's shell blocks that are run, lines joined by && taken apart."""
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    parts = [[line] if line.startswith(OTHER_COMMANDS) else line.split("&&") for line in lines]
    commands = [command.strip() for part in parts for command in part]
    return [command for command in commands if command.startswith(("charnn ", *OTHER_COMMANDS))]


def run_in_shell(command: str) -> None:
    """Run a command that is not charnn's, with this Python."""
    python = f"{shlex.quote(sys.executable)} "
    subprocess.run(["sh", "-c", re.sub("^python ", lambda _: python, command)], check=True)


def shortened(command: str) -> list[str]:
    """Return a command's arguments with a budget of two steps, or of two more, and a small network."""
    words = shlex.split(command)[1:]
    for flag, quick in QUICK.items():
        if flag in words:
            place = words.index(flag)
            words[place : place + 2] = quick
    if "--resume" in words:
        words[words.index("--steps") + 1] = "4"
    elif words[0] == "train":
        words += [] if "--init-from" in words else ["--hidden-size", "8"]
        words += ["--batch-size", "4", "--bptt", "32"]
    return words


def test_the_readme_is_short():
    assert len(README.encode()) <= 15_000


def test_the_commands_run_one_after_the_other(charnn, tmp_path):
    """In the README's order and then the rooms', in a fresh directory, with shorter budgets on shorter texts."""
    if shutil.which("sh") is None:
        pytest.skip("there is no POSIX shell")
    shutil.copytree(REPOSITORY / "corpora", tmp_path / "corpora")
    for path, num_lines in (
        ("fables.txt", 800),
        ("names.txt", 300),
        ("agreement.txt", 400),
        ("agreement-pairs.tsv", 20),
        ("tunes.abc", 1000),
        ("temperatures.csv", 800),
    ):
        lines = (REPOSITORY / "corpora" / path).read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / "corpora" / path).write_text("".join(lines[:num_lines]), encoding="utf-8")
    commands = [command for path in PAGES for command in shell_commands(path)]
    assert {shlex.split(command)[1] for command in commands if command.startswith("charnn ")} == set(COMMANDS) - {
        "serve"
    }  # which does not end
    for command in commands:
        if command.startswith(OTHER_COMMANDS):
            run_in_shell(command)
            continue
        result = charnn(*shortened(command))
        assert result.status == 0, f"{command}\n{result.err}"


GATE = REPOSITORY / ".ci" / "run"


def test_the_gate_begins_with_the_readmes_test_command_word_for_word():
    lines = GATE.read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if not line.startswith(("#", "set ", "cd ", "rm "))]
    assert commands[0] in README.splitlines()
    assert commands[0].endswith("python -m pytest --cov")
    assert commands[-1].startswith("python -m pytest ")  # whose summary is the last line printed


@pytest.mark.parametrize(
    "failing", ["venv", "install -e .[test]", "pytest --cov", "install -e .[clients]", "tests/clients"]
)
def test_the_gate_ends_with_its_first_failure(tmp_path, failing):
    """With programs that note how they are called; one of them fails."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    (tmp_path / ".ci").mkdir()
    shutil.copy(GATE, tmp_path / ".ci")
    programs = tmp_path / "programs"
    programs.mkdir()
    activate = "mkdir -p .venv/bin && touch .venv/bin/activate"
    for name in ("python3", "python", "pip", "chromium"):
        (programs / name).write_text(
            f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/calls\n{activate}\ncase "$*" in *"{failing}"*) exit 3;; esac\n'
        )
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(["bash", tmp_path / ".ci" / "run"], env=environment, capture_output=True, check=False)
    assert result.returncode == 3
    assert failing in (tmp_path / "calls").read_text().splitlines()[-1]


def test_each_tour_has_at_most_ten_commands():
    text = (REPOSITORY / "charnn" / "scoring" / "README.md").read_text(encoding="utf-8")
    tours = text.split("## Three tours")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", tours, flags=re.DOTALL)
    assert [block.count("\n") <= 10 for block in blocks] == [True] * 3


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(path):
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    for link in links:
        file, _, heading = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in {anchor(title) for title in titles}, link


def anchor(title: str) -> str:
    """Return a heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_an_anchor_is_as_github_makes_it():
    assert anchor("The n-gram model") == "the-n-gram-model"
    assert anchor("recipes: what, and `why`") == "recipes-what-and-why"


OF_LAUNCHERS = {
    *("--nproc-per-node", "--nnodes", "--max-restarts", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"),
    *("--nodes", "--ntasks-per-node", "--signal", "--wrap"),
}
"""Options of torchrun and Slurm."""


@pytest.mark.parametrize("path", PAGES[:-1], ids=name_of)
def test_every_option_that_a_page_names_exists(path):
    known = set(re.findall(r"--[a-z][a-z-]*", page())) | {"--help", "--help-all", "--debug", "--version"}
    known |= {"--install-completion", "--index-url", "--cov", "--logdir", *OF_LAUNCHERS}
    assert set(re.findall(r"--[a-z][a-z-]*", path.read_text(encoding="utf-8"))) <= known


def test_every_command_is_in_the_table_of_commands():
    assert re.findall(r"^\| `charnn (\w+)", README, flags=re.MULTILINE) == list(COMMANDS)


def test_every_room_is_in_the_tree():
    tree = re.search(r"```text\n(charnn/\n.*?)```", README, flags=re.DOTALL)
    assert tree
    named = re.findall(r"^((?:    )+)(\w+)/ ", tree[1], flags=re.MULTILINE)
    outer, found = "", set()
    for indent, name in named:
        outer = name if len(indent) == 4 else outer
        found.add(name if len(indent) == 4 else f"{outer}/{name}")
    package = REPOSITORY / "charnn"
    assert found == {path.parent.relative_to(package).as_posix() for path in package.rglob("__init__.py")} - {"."}


@pytest.mark.parametrize("name", ["corpora/README.md", "tests/benchmarks/README.md"])
def test_every_file_in_a_folder_stands_in_its_readme(name):
    folder = (REPOSITORY / name).parent
    text = Path(REPOSITORY / name).read_text(encoding="utf-8")
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("README.md", "__init__.py"):
            assert f"`{path.name}`" in text


def test_the_readmes_python_runs_as_it_stands(tmp_path, capsys):
    """But for the two minutes."""
    text = (REPOSITORY / "corpora" / "fables.txt").read_text(encoding="utf-8")[:8000]
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 1
    assert "minutes=2" in blocks[0]
    names: dict[str, object] = {}
    exec(blocks[0].replace("minutes=2", "minutes=0.06"), names)
    assert len(names["table"]) == 2
    assert "NextToken(token=" in capsys.readouterr().out
