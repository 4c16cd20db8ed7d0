"""The rules of the house: what may import what, what stays light, and the linters' verdict."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "charnn"

MOST_IMPORTS_INSIDE = 26

ROOMS = {
    "base": (
        "errors",
        "options",
        "config",
        "files",
        "cores",
        "launch",
        "optimize",
        "randomness",
        "recipes",
        "notebook",
        "notices",
        "interrupts",
    ),
    "text": ("text",),
    "cells": ("cells",),
    "ngrams": ("ngrams",),
    "storage": ("storage",),
    "training": ("training",),
    "inference": ("inference",),
    "sampling": ("sampling",),
    "scoring": ("scoring",),
    "analysis": ("analysis",),
    "api": ("api", "language_model", "library"),
    "cluster": ("cluster",),
    "report": ("report",),
    "serving": ("serving",),
    "export": ("export", "hf"),
    "plugin": ("llm_plugin",),
    "cli": ("cli",),
}
_RUNNING = {"base", "text", "cells", "ngrams", "storage", "inference"}
MAY_IMPORT = {
    "base": {"base"},
    "text": {"base", "text"},
    "cells": {"base", "text", "cells"},
    "ngrams": {"base", "ngrams"},
    "storage": {"base", "text", "cells", "ngrams", "storage"},
    "training": {"base", "text", "cells", "ngrams", "storage", "training"},
    "inference": _RUNNING,
    "sampling": _RUNNING | {"sampling"},
    "scoring": _RUNNING | {"sampling", "scoring", "training"},
    "analysis": _RUNNING | {"sampling", "scoring", "training", "analysis"},
    "cluster": _RUNNING | {"scoring", "training", "api", "cluster"},
    "report": {"base", "api", "analysis", "report"},
    "api": set(ROOMS) - {"report", "serving", "export", "plugin", "cli"},
    "serving": {"base", "api", "serving"},
    "export": {"base", "text", "cells", "ngrams", "storage", "api", "export"},
    "plugin": {"base", "api"},
    "cli": set(ROOMS) - {"plugin"},
}
LIBRARIES = {
    "base": set(),
    "text": {"numpy", "regex", "sentencepiece", "charset_normalizer"},
    "cells": set(),
    "ngrams": {"numpy"},
    "storage": {"numpy", "safetensors", "filelock"},
    "training": {"numpy", "torch"},
    "inference": {"numpy", "threadpoolctl", "torch"},
    "sampling": {"numpy"},
    "scoring": {"numpy", "torch"},
    "analysis": {"numpy", "torch", "regex"},
    "api": {"numpy"},
    "cluster": {"numpy", "ray"},
    "report": {"numpy", "jinja2", "matplotlib", "cycler", "markupsafe"},
    "serving": {"numpy", "starlette", "uvicorn"},
    "export": {"numpy", "torch", "transformers", "tokenizers", "onnx", "music21"},
    "plugin": {"llm", "pydantic"},
    "cli": {"numpy", "torch", "typer", "rich"},
}


def room_of(module: str) -> str:
    name = module.split(".")[1] if "." in module else "cli"
    return next((room for room, names in ROOMS.items() if name in names), "cli")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:  # a relative one stays in its room
            found += [
                f"{node.module}.{alias.name}" if node.module == "charnn" else str(node.module) for alias in node.names
            ]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_downwards_only(path):
    room = room_of(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    for name in imported(path):
        library = name.split(".")[0]
        if name == "charnn" or name == "charnn.__version__":
            continue
        if library == "charnn":
            assert room_of(name) in MAY_IMPORT[room], f"{path.name} ({room}) imports {name}"
        elif library not in sys.stdlib_module_names:
            assert library in LIBRARIES[room], f"{path.name} ({room}) imports {library}"


def test_what_runs_a_model_imports_torch_in_rooms_of_its_own_only():
    with_torch = {path.name for path in (PACKAGE / "inference").glob("*.py") if "torch" in imported(path)}
    assert with_torch == {"torch_stepper.py", "torch_engine.py", "quantization.py", "build.py", "devices.py"}
    with_torch = {path.name for path in (PACKAGE / "scoring").glob("*.py") if "torch" in imported(path)}
    assert with_torch == {"dynamic.py"}


def imported_when_run(path: Path) -> set[str]:
    """Return the modules that are imported for more than their types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    for_types = {id(node) for block in blocks for node in ast.walk(block)}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in for_types]
    return {str(node.module) for node in imports if str(node.module).startswith("charnn.")}


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").rglob("*.py")), ids=lambda path: path.name)
def test_the_command_line_goes_through_the_api(path):
    allowed = {"cli", "config", "errors", "interrupts", "options", "report", "serving", "export"}
    assert {name.split(".")[1] for name in imported_when_run(path)} <= allowed


def test_imports_inside_functions_are_few():
    """Those that load torch, what a short help must do without, or what few models need."""
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = [part for part in ast.walk(node) if isinstance(part, ast.Import | ast.ImportFrom)]
                found += [f"{path.name}:{part.lineno}: {ast.unparse(part)}" for part in inside]
    assert len(found) <= MOST_IMPORTS_INSIDE, "\n".join(found)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_the_console_prints(path):
    if path.name == "console.py":
        return
    names = {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}
    assert "print" not in names


def modules_after(*arguments: object) -> set[str]:
    program = (
        "import sys\nfrom charnn.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as exit_:\n    assert not exit_.code, exit_.code\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "command",
    [
        "",
        "train",
        "sample",
        "score",
        "compare",
        "predict",
        "fill",
        "tokenize",
        "info",
        "serve",
        "export",
        "recipes",
        "sweep",
    ],
)
def test_help_loads_neither_torch_nor_numpy(command):
    slow = {"torch", "numpy", "safetensors", "sentencepiece", "pydantic", "rich.markdown"}
    for flag in ("--help", "--help-all") if command else ("--help",):
        assert not modules_after(*command.split(), flag) & slow


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "The", "-n", 5, "--seed", 1),
        ("sample", "The", "-n", 5, "--seed", 1, "--novelty", "--match", ".*", "--num-samples", 2),
        ("sample", "The", "-n", 5, "--beam", 2),
        ("sample", "The", "-n", 5, "--adapt"),
        ("score", "--text", "The fox", "--format", "jsonl"),
        ("score", "--text", "The fox", "--per-token", "--cache", "--mix-ngram", "--temperature", "fit"),
        ("score", "--text", "The fox", "--format", "neural-complexity", "--spell"),
        ("score", "--text", "The fox", "--adapt", "--no-dynamic"),
        ("predict", "The"),
        ("fill", "The ____", "--beam", 2),
        ("tokenize", "The"),
        ("info",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_running_a_model_never_loads_torch(run, arguments):
    name, *rest = arguments
    where = (run,) if name == "info" else ("-m", run)
    loaded = modules_after(name, *rest, *where)
    assert "numpy" in loaded
    assert not loaded & {"torch", "charnn.training"}


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
    ],
    ids=" ".join,
)
def test_linters_are_content(command):
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_agreement_files_are_what_their_script_writes(tmp_path):
    for name in ("make_agreement.py", "agreement.txt", "agreement-pairs.tsv"):
        (tmp_path / name).write_bytes((REPOSITORY / "corpora" / name).read_bytes())
    subprocess.run([sys.executable, tmp_path / "make_agreement.py"], check=True)
    for name in ("agreement.txt", "agreement-pairs.tsv"):
        assert (tmp_path / name).read_bytes() == (REPOSITORY / "corpora" / name).read_bytes()


def test_no_sentence_of_a_pair_stands_in_the_training_text():
    corpora = REPOSITORY / "corpora"
    sentences = set((corpora / "agreement.txt").read_text(encoding="utf-8").splitlines())
    rows = [line.split("\t") for line in (corpora / "agreement-pairs.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    assert not any(good in sentences or bad in sentences for good, bad, *_ in rows)
    assert {int(row[2]) for row in rows} == set(range(21))
    assert {int(row[3]) for row in rows} == {0, 1, 2, 3}


def test_corpora_are_as_large_as_they_say():
    corpora = REPOSITORY / "corpora"
    assert (corpora / "fables.txt").stat().st_size >= 120_000
    names = (corpora / "names.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == len(set(names)) >= 2000


SCRIPTS = [
    REPOSITORY / "tests" / "screenshot.py",
    REPOSITORY / "tests" / "pictures.py",
    *sorted((REPOSITORY / "tests" / "benchmarks").glob("*.py")),
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_import_what_there_is(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)  # as when the script is run
    for library in ("kenlm", "music21"):  # not among the requirements
        monkeypatch.setitem(sys.modules, library, mock.MagicMock())
    importlib.import_module(path.stem)
