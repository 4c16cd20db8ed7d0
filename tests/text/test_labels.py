import json
from pathlib import Path

import numpy as np
import pytest

from charnn.config import TextOptions
from charnn.errors import OptionError, TextError
from charnn.text import labels
from charnn.text.corpus import prepare_corpus
from charnn.text.labels import label_of_path, read_labels
from charnn.text.tokenizers import decode

ROWS = [(f"P{number % 3}", f"person {number % 3} says thing {number}") for number in range(60)]


def written(name: str, rows: list[tuple[str, str]]) -> str:
    if name.endswith(".jsonl"):
        lines = [json.dumps({"who": who, "text": text}) for who, text in rows]
    else:
        lines = ["who,text", *(f'{who},"{text}"' for who, text in rows)]
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def labelled_units(texts: list[str], options: TextOptions) -> dict[str, list[tuple[str | None, str]]]:
    """Return the labels and texts of both splits, as training reads them."""
    directory = Path("encoded")
    directory.mkdir()
    corpus = prepare_corpus(directory, texts, options, seed=1)
    names = [None, *(each.name for each in corpus.labels)]
    found = {}
    for split in ("train", "valid"):
        ids = np.asarray(corpus.ids(split)).astype(int)
        ends = np.flatnonzero(ids == corpus.tokenizer.vocabulary.boundary_id)
        units = [decode(corpus.tokenizer, ids[first:end]) for first, end in zip([0, *ends + 1], ends, strict=False)]
        found[split] = [(names[label], unit) for label, unit in zip(read_labels(directory, split), units, strict=True)]
    assert [each.num_train for each in corpus.labels] == [
        sum(label == each.name for label, _ in found["train"]) for each in corpus.labels
    ]
    return found


@pytest.mark.parametrize("unit", ["line", "document"])
@pytest.mark.parametrize("tokenizer", ["char", "word", "subword"])
@pytest.mark.parametrize("name", ["chat.csv", "chat.jsonl"])
def test_each_unit_of_a_column_keeps_the_label_of_its_row(name, tokenizer, unit):
    vocab_size = 60 if tokenizer == "subword" else None
    options = TextOptions(
        column="text", label_from="who", unit=unit, tokenizer=tokenizer, vocab_size=vocab_size, min_count=None
    )
    found = labelled_units([written(name, ROWS)], options)
    assert len(found["valid"]) == 6
    units = [*found["train"], *found["valid"]]
    assert len(units) == 60
    assert all(text.startswith(f"person {(who or '')[1:]} says") for who, text in units)


@pytest.mark.parametrize(("label_from", "expected"), [("file", {"one", "two"}), ("directory", {"a"})])
@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_units_of_files_have_the_name_of_the_file_or_directory(label_from, expected, tokenizer):
    Path("a").mkdir()
    Path("a/one.txt").write_text("one\n\n" * 20, encoding="utf-8")
    Path("a/two.txt").write_text("two\n" * 20 + "two", encoding="utf-8")
    found = labelled_units(["a"], TextOptions(label_from=label_from, unit="line", tokenizer=tokenizer))
    units = [*found["train"], *found["valid"]]
    assert {label for label, _ in units} == expected
    assert len(units) == 41
    assert label_from == "directory" or all(label == text for label, text in units)


def test_the_other_strand_of_a_record_has_its_label():
    for name, record in (("one", "AACC"), ("two", "ACAA")):
        Path(f"{name}.fa").write_text(f">a\n{record}\n" * 3 + ">b\nACGT\n", encoding="utf-8")
    options = TextOptions(label_from="file", unit="line", reverse_complement=True, valid_fraction=0)
    directory = Path("encoded")
    directory.mkdir()
    corpus = prepare_corpus(directory, ["one.fa", "two.fa"], options, seed=1)
    units = decode(corpus.tokenizer, corpus.ids("train").tolist()).splitlines()
    names = [corpus.labels[number - 1].name for number in read_labels(directory, "train")]
    given = [("one", "AACC")] * 3 + [("one", "ACGT")] + [("two", "ACAA")] * 3 + [("two", "ACGT")]
    complements = {"AACC": "GGTT", "ACAA": "TTGT", "ACGT": "ACGT"}
    expected = given + [(name, complements[record]) for name, record in reversed(given)]
    assert list(zip(names, units, strict=True)) == expected
    assert corpus.train.num_units == len(names)


def test_a_cell_of_several_lines_is_one_labelled_document_and_blank_cells_need_no_label():
    rows = [*ROWS, ("P7", "first\n\nsecond"), ("", " ")]
    options = TextOptions(column="text", label_from="who", unit="document", valid_fraction=0)
    found = labelled_units([written("a.csv", rows)], options)
    assert found["train"][-1] == ("P7", "first\nsecond")
    assert len(found["train"]) == 61


def test_a_number_may_be_a_label_and_white_space_in_one_is_a_space():
    rows = [(7, "a"), (" A \t\n b", "b")] * 9
    found = labelled_units([written("a.jsonl", rows)], TextOptions(column="text", label_from="who", unit="line"))
    assert {label for label, _ in found["train"]} == {"7", "A b"}


def test_held_out_units_with_a_new_label_have_none(caplog):
    training, held_out = (
        written("a.csv", ROWS),
        written("b.csv", [("P0", "a thing"), ("Zoe", "hints"), ("Zoe", "nights")]),
    )
    options = TextOptions(column="text", label_from="who", unit="line", valid=held_out)
    with caplog.at_level("INFO", "charnn"):
        found = labelled_units([training], options)
    assert found["valid"] == [("P0", "a thing"), (None, "hints"), (None, "nights")]
    assert "a.csv: 2 held-out units with labels that no training unit has (Zoe) are read without a label" in caplog.text
    assert "a.csv: 3 labels (training units: P0 20, P1 20, P2 20)" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        (
            "a.csv",
            "who,text\nA,b\n,c\n",
            {"column": "text", "label_from": "who"},
            "a.csv:3: found no label in who, but each row with a text needs one; fill it in, or remove the row",
        ),
        (
            "a.csv",
            "who,text\nA,b\n",
            {"column": "text", "label_from": "hwo"},
            "a.csv:1: found the columns who, text, but no hwo; did you mean who?",
        ),
        (
            "a.jsonl",
            '{"text": "a"}\n',
            {"column": "text", "label_from": "who"},
            "a.jsonl:1: found the fields text, but no who; each line must be an object with a text in who",
        ),
        (
            "a.jsonl",
            '{"text": "a", "who": null}\n',
            {"column": "text", "label_from": "who"},
            "a.jsonl:1: found no label in who, but each row with a text needs one; fill it in, or remove the row",
        ),
    ],
    ids=["no label", "no column", "no field", "null"],
)
def test_a_row_without_a_label_is_named(name, content, options, message):
    Path(name).write_text(content, encoding="utf-8")
    with pytest.raises(TextError) as error:
        labelled_units([name], TextOptions(unit="line", **options))
    assert str(error.value) == message


def test_a_column_of_the_text_itself_has_too_many_labels(monkeypatch):
    monkeypatch.setattr(labels, "MOST_LABELS", 20)
    rows = [(text, text) for _, text in ROWS]
    with pytest.raises(
        TextError, match=r"a\.csv: found more than 20 labels with --label-from who; name a column of few values"
    ):
        labelled_units([written("a.csv", rows)], TextOptions(column="text", label_from="who", unit="line"))


@pytest.mark.parametrize(
    ("name", "label_from", "label"),
    [
        ("plays/Hamlet.txt", "file", "Hamlet"),
        ("plays/Hamlet.txt.gz", "file", "Hamlet"),
        ("plays/Hamlet.txt", "directory", "plays"),
        ("plays/caf\udce9.txt", "file", "caf\ufffd"),  # a byte that is not UTF-8
        ("plays/King\nLear.txt", "file", "King Lear"),
        ("two\n lines/Hamlet.txt", "directory", "two lines"),
    ],
)
def test_labels_of_paths(name, label_from, label):
    assert label_of_path(name, label_from) == label


def test_standard_input_has_no_label():
    with pytest.raises(TextError) as error:
        label_of_path("standard input", "file")
    assert str(error.value) == (
        "standard input: has no file name to take a label from; name files, or pass --column and a column"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_from": "file"}, "--label-from: has no effect without --unit line or --unit document"),
        (
            {"label_from": "file", "unit": "tune"},
            "--label-from: has no effect without --unit line or --unit document",
        ),
        (
            {"label_from": "who", "unit": "line"},
            "--label-from: found who, but a column of labels requires --column, the column of the text; or use file",
        ),
        (
            {"label_from": "who", "column": "who", "unit": "line"},
            "--label-from: cannot be combined with --column who, which is the text",
        ),
    ],
    ids=["stream", "tune", "no column", "same column"],
)
def test_labels_need_units_and_another_column(options, message):
    with pytest.raises(OptionError) as error:
        TextOptions(**options)
    assert str(error.value).startswith(message)
