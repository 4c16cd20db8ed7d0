"""`charnn inspect`: tables, records, pages and what it refuses."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import charnn as library
from charnn.cli.output.records import aligned, fitted
from charnn.errors import ModelError, OptionError
from charnn.storage.model_directory import read_model, write_model


def test_tables_and_records_have_the_same_rows(charnn, run):
    shown = charnn("inspect", "embeddings", run)
    assert shown.status == 0
    assert shown.out.startswith("embeddings: Nearest neighbors by cosine similarity\n")
    records = list(map(json.loads, charnn("inspect", "embeddings", run, "--format", "jsonl").out.splitlines()))
    assert {(record["inspection"], record["table"]) for record in records} == {("embeddings", "neighbors")}
    found = library.inspect("embeddings", run).tables()[0]
    assert [tuple(record.values())[2:] for record in records] == list(found.rows)


def test_a_page_replaces_one_but_no_other_file(charnn, run):
    Path("page.html").write_text("old", encoding="utf-8")
    made = charnn("inspect", "embeddings", run, "--html", "page.html")
    assert (made.status, made.err) == (0, "charnn: wrote page.html; open it in a browser\n")
    assert "<h1>Inside " in Path("page.html").read_text(encoding="utf-8")
    refused = charnn("inspect", "embeddings", run, "--html", run / "config.json")
    assert refused.status == 2
    assert (run / "config.json").read_bytes().startswith(b"{")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("neurones",), "charnn: error: WHAT: found 'neurones', but it must be one of gradients, neurons, "),
        (("embeddings,",), "charnn: error: WHAT: found '', but it must be one of gradients, neurons, "),
        (("embeddings", "--text", "a"), "charnn: error: --text: has no effect on embeddings; leave it out, or inspect"),
        (("embeddings", "--pattern", "a"), "charnn: error: --pattern: has no effect on embeddings; "),
        (("memory", "--file", "a.txt"), "charnn: error: --file: has no effect on memory; leave it out, or inspect"),
    ],
)
def test_what_has_no_meaning_is_refused(charnn, run, arguments, message):
    result = charnn("inspect", *arguments[:1], run, *arguments[1:])
    assert result.status == 2
    assert result.err.startswith(message)


def test_the_advice_for_another_encoding_helps(charnn, run):
    Path("old.txt").write_bytes("The caf\xe9 by the river".encode("cp1252"))
    for command in (("inspect", "unrolled", run), ("report", run, "-o", "page.html")):
        refused = charnn(*command, "--file", "old.txt")
        assert refused.status == 1
        assert "old.txt:1: byte 0xe9 at offset 7 is not UTF-8; pass the --encoding of the text" in refused.err
        assert charnn(*command, "--file", "old.txt", "--encoding", "cp1252").status == 0


@pytest.mark.parametrize(("slim", "advice"), [(True, "train again"), (False, "train it: charnn train --resume -o ")])
def test_an_untrained_model_gets_advice_that_helps(charnn, run, slim, advice):
    model = read_model(run)
    model.config.results.steps = 0
    model.config.training = replace(model.config.training, slim=slim)
    write_model(run, model.config, model.weights, generation=0)
    assert f"those of random weights; {advice}" in charnn("inspect", "embeddings", run).err


def test_without_the_library_that_draws_nothing_is_computed(charnn, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = charnn("inspect", "embeddings", run, "--html", "page.html")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "charnn: error: inspect --html: matplotlib is not installed; in the clone, run pip install -e '.[report]'\n"
    )
    assert charnn("inspect", "embeddings", run).status == 0


def test_the_function_speaks_of_arguments(run):
    with pytest.raises(OptionError, match="what: found 'nothing', but it must be one of gradients, neurons"):
        library.inspect("nothing", run)
    with pytest.raises(OptionError, match="text: has no effect on embeddings"):
        library.inspect("embeddings", run, text="a")
    with pytest.raises(OptionError, match="models: found 3"):
        library.inspect("embeddings", 3)
    with pytest.raises(ModelError, match="is named twice; name each model once"):
        library.inspect("embeddings", run, run)
    assert library.inspect("unrolled", run, text="The fox").texts[0].text == "The fox"
    model = library.load(run)
    assert library.inspect("embeddings", model).vectors[0].run == str(run)


def test_tables_fit_the_terminal_with_stacked_headings_and_without_their_last_columns():
    cells = [["text", "log prob nats", "strongest"], ["1", "-0.5", "2 back: a"], ["1", "-12.25", "0 back: b"]]
    assert list(fitted(cells, 30)) == list(aligned(cells))
    assert list(fitted(cells, 24)) == [
        "         log",
        "        prob",
        "text    nats  strongest",
        "───────────────────────",
        "   1    -0.5  2 back: a",
        "   1  -12.25  0 back: b",
    ]
    assert list(fitted(cells, 20)) == [
        "         log",
        "        prob",
        "text    nats",
        "────────────",
        "   1    -0.5",
        "   1  -12.25",
        "not shown for lack",
        "of width: strongest;",
        "--format jsonl",
        "prints all",
    ]


def test_a_terminal_shows_the_only_run_in_the_caption(charnn, run, monkeypatch):
    monkeypatch.setattr("charnn.cli.output.console.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    shown = charnn("inspect", "embeddings", run).out.splitlines()
    caption = "".join(shown[: shown.index(next(line for line in shown if set(line) == {"─"})) - 1])
    assert caption.replace(" ", "").startswith(f"embeddingsof{run}:")
    assert max(map(len, shown)) <= 60
    assert not any(line.startswith("run ") for line in shown)
