"""Examples in docstrings: each runs as it stands, and says what it shows."""

import ast
import contextlib
import doctest
import importlib
import inspect
import io
import math
import shutil
from pathlib import Path

import numpy
import pandas
import pytest

import charnn
from charnn import cells, config
from tests.conftest import FABLES, REPOSITORY, train_quietly

PACKAGE = REPOSITORY / "charnn"
SHORTER = {"minutes=2": "steps=4"}


def docstrings_with_examples():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                docstring = ast.get_docstring(node) or ""
                if ">>>" in docstring:
                    yield pytest.param(name, docstring, id=f"{name}.{getattr(node, 'name', '')}".rstrip("."))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, _trained_voices):
    """A directory with the texts and models that examples name."""
    directory = tmp_path_factory.mktemp("shelf")
    text = FABLES.read_text(encoding="utf-8")[:8000]
    for name in ("book.txt", "test.txt"):
        (directory / name).write_text(text, encoding="utf-8")
    run = train_quietly(tmp_path_factory.mktemp("trained"), text, "--steps", 4)
    for name in ("book", "a", "b"):
        shutil.copytree(run, directory / "runs" / name)
    shutil.copytree(_trained_voices, directory / "runs" / "voices")
    numbers = train_quietly(
        tmp_path_factory.mktemp("numbers"), "12.1 12.9 13.4\n" * 200, "--tokenizer", "bins", "--steps", 4
    )
    shutil.copytree(numbers, directory / "runs" / "series")
    return directory


BACKGROUND = """
model = charnn.load("runs/book") if Path("runs/book").exists() else None
score = model and model.score("The fox slept.")
options = SampleOptions(length=8)
stepper = model and charnn.api.build_stepper(model.models[0], weights="fp32", device="cpu")
prompts = model and charnn.api.Prompts(model.models[0], stepper, ["The fox"], options)
prompt_state = model and next(prompts.states())
estimator = model and charnn.api.estimator_of(charnn.api.Engine.of(model.models[0]), model.tokenizer, None)
sampler = model and charnn.api.build_sampler(model.models[0], stepper, options)
pairs = charnn.api.read_pairs("pairs.tsv", ["good\tbad", "The fox sleeps.\tThe fox sleep."]).pairs
gap = model and charnn.api.find_gap(model.tokenizer, "The f_x slept.", "_", on_unknown="error")
log_probs = model and charnn.api.score_cloze(charnn.api.Engine.of(model.models[0]), None, model.tokenizer, gap)
hypothesis, *_ = charnn.api.read_hypotheses("list.tsv", ["u1\t-12.5\tthe fox slept"])
"""


def background():
    """Return what examples refer to, as earlier examples make it."""
    names = {"charnn": charnn, "pandas": pandas, "Path": Path, "np": numpy, "math": math}
    names |= {
        name: getattr(config, name) for name in ("SampleOptions", "ScoreOptions", "ServeOptions", "ComparisonOptions")
    }
    exec(BACKGROUND, names)
    return names


@pytest.mark.parametrize(("module", "docstring"), list(docstrings_with_examples()))
def test_examples_run(module, docstring, shelf, tmp_path, monkeypatch):
    if "charnn.score_dataset(" in docstring:
        pytest.importorskip("ray", reason="needs the extra cluster: pip install -e '.[cluster]'")
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    if "charnn.train(" in docstring:
        shutil.rmtree("runs/book")
    monkeypatch.setattr(cells, "_MAKERS", dict(cells._MAKERS))
    names = {**background(), **vars(importlib.import_module(module))}
    for example in doctest.DocTestParser().get_examples(docstring):
        source = example.source
        for longer, shorter in SHORTER.items():
            source = source.replace(longer, shorter)
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(source, "<example>", "single"), names)
        if example.want:
            assert shown.getvalue() == example.want


def public_functions():
    for name in charnn.__all__:
        value = getattr(charnn, name)
        if inspect.isfunction(value):
            yield pytest.param(value, id=name)
    for name, method in vars(charnn.LanguageModel).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            yield pytest.param(method, id=f"LanguageModel.{name}")


@pytest.mark.parametrize("function", list(public_functions()))
def test_public_functions_have_an_example(function):
    assert ">>>" in (function.__doc__ or "")


@pytest.mark.parametrize("name", [name for name in charnn.__all__ if name != "__version__"])
def test_public_names_have_a_docstring(name):
    assert getattr(charnn, name).__doc__
    assert Path(inspect.getsourcefile(getattr(charnn, name))).is_relative_to(PACKAGE)
