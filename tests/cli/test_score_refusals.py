"""A text that cannot be scored is refused before anything is fitted to the held-out text, which may take half a minute."""

import io
from pathlib import Path

import pytest

from charnn import load
from charnn.errors import OptionError, TextError
from charnn.scoring import build, rates
from charnn.text.located import given_texts, read_located
from charnn.text.reading import begun

FITTED = (("--adapt",), ("--dynamic",), ("--cache",), ("--temperature", "fit"))


@pytest.fixture
def nothing_is_fitted(monkeypatch):
    for module in (build, rates):
        monkeypatch.setattr(module, "read_held_out", lambda *_, purpose: pytest.fail(f"{purpose} was fitted first"))


@pytest.mark.parametrize("options", FITTED, ids=" ".join)
@pytest.mark.parametrize("unit", ["line", "stream", "file", "document"])
@pytest.mark.usefixtures("nothing_is_fitted")
def test_an_empty_or_wrongly_encoded_text_is_refused_first(charnn, run, options, unit):
    Path("empty.txt").touch()
    Path("cp1252.txt").write_bytes(b"The fox slept.\nThe caf\xe9 was full.\n")
    for file, message in (("empty.txt", "there is nothing to score"), ("cp1252.txt", "is not UTF-8")):
        result = charnn("score", "-m", run, file, "--unit", unit, *options, "-o", "records.tsv", "--format", "tsv")
        assert (result.status, result.err.count("\n")) == (1, 1), result.err
        assert f"charnn: error: {file}:" in result.err
        assert message in result.err
    assert not list(Path().glob("records*"))


@pytest.mark.usefixtures("nothing_is_fitted")
def test_standard_input_tables_and_lists_too(charnn, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "standard input: is empty" in charnn("score", "-m", run, "--dynamic").err
    Path("t.csv").write_text("a,b\n", encoding="utf-8")
    table = charnn("score", "-m", run, "t.csv", "--column", "b", "--dynamic")
    assert (table.status, "t.csv: found no row with text in b" in table.err) == (1, True)
    Path("list.tsv").write_text("u1\tmuch\tThe fox\n", encoding="utf-8")
    for option, message in (("--nbest", "list.tsv:1: found the score 'much'"), ("--pairs", "list.tsv:1: found")):
        result = charnn("score", "-m", run, option, "list.tsv", "--temperature", "fit")
        assert (result.status, message in result.err) == (1, True), result.err


@pytest.mark.usefixtures("nothing_is_fitted")
def test_what_models_are_mixed_by_is_read_first(charnn, run, line_run):
    Path("empty.txt").touch()
    two = ("score", "-m", run, "-m", run, "--text", "a", "--temperature", "fit")
    for options, message in (
        (("--fit-weights", "empty.txt"), "there is nothing to fit weights on"),
        (("-w", 1), "-w: found 1 for 2 models"),
    ):
        result = charnn(*two, *options)
        assert (result.status, message in result.err) == (1 if options[0] == "--fit-weights" else 2, True), result.err
    result = charnn("score", "-m", run, "-m", line_run, "--text", "a", "--temperature", "fit")
    assert "has a different vocabulary from" in result.err


@pytest.mark.usefixtures("nothing_is_fitted")
def test_in_python_too(run):
    model = load(run)
    Path("cp1252.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(TextError, match=r"cp1252.txt:1: byte 0xe9"):
        model.score(Path("cp1252.txt"), dynamic=True)
    with pytest.raises(TextError, match=r"none.txt: no such file"):
        model.score(Path("none.txt"), dynamic=True)
    with pytest.raises(OptionError, match="text: found 3, but it must be a string"):
        model.score(["a", 3], dynamic=True)
    with pytest.raises(OptionError, match="unit file: found a text that is no file"):
        model.score("a", unit="file", dynamic=True)


def test_of_a_stream_only_the_first_text_is_read(run):
    read = []
    texts = (read.append(each) or each for each in "abc")
    found = begun(texts)
    assert read == ["a"]
    assert list(found) == ["a", "b", "c"]
    assert begun(iter(())) is None
    assert given_texts([]).begun() is None
    Path("empty.txt").touch()
    Path("a.txt").write_text("x\ny\n", encoding="utf-8")
    tokenizer = load(run).tokenizer
    files = ["empty.txt", "a.txt", "empty.txt"]
    for unit, texts in (("file", [[], ["x\ny\n"], []]), ("line", [["x", "y"]]), ("stream", [["x\n", "y\n"]])):
        source = read_located(files, tokenizer, unit=unit, encoding="utf-8").begun()
        found = [list(group.texts()) for group in source.groups]
        assert ["".join(each) for each in found] == ["".join(each) for each in texts]
