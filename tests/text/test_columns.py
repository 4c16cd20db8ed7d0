"""Training on a column of a table or a field of JSON lines."""

import gzip
import json
from dataclasses import replace

import pytest

from charnn.config import TextOptions
from charnn.errors import OptionError, TextError, UnusedOptionError
from charnn.text.columns import Column
from charnn.text.corpus import prepare_corpus
from charnn.text.decoding import decoded
from charnn.text.reading import read_text
from charnn.text.selection import Selection
from charnn.text.sources import find_sources
from charnn.text.tokenizers import decode
from tests.notices import collected_notices

CSV = 'id,text\n1,"one, two"\n2,\n3,"a ""quoted""\n\nline"\n4,four\n'
JSON = "".join(
    json.dumps(row) + "\n"
    for row in ({"text": "one, two", "id": 1}, {"text": None}, {"text": 'a "quoted"\r\n\nline'}, {"text": "four"})
)
EXPECTED = {
    "stream": 'one, two\na "quoted"\n\nline\nfour\n',
    "line": 'one, two\na "quoted" line\nfour\n',
    "document": 'one, two</s>a "quoted"\nline</s>four</s>',
}


def prepared(tmp_path, *files, **options):
    corpus = prepare_corpus(
        tmp_path, [str(file) for file in files], TextOptions(**{"valid_fraction": 0, **options}), seed=1
    )
    return decode(corpus.tokenizer, corpus.ids("train").tolist())


def written(tmp_path, name, content):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path / name


@pytest.mark.parametrize("unit", ["stream", "line", "document"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", CSV),
        ("t.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("t.tsv", 'id\ttext\n1\tone, two\n2\t\n3\ta "quoted"\n'),
        ("t.jsonl", JSON),
        ("t.txt", JSON),
    ],
)
def test_each_cell_is_text_of_its_own(tmp_path, name, content, unit):
    expected = EXPECTED[unit]
    if name == "t.tsv":  # whose cells hold no line ends
        expected = {"stream": 'one, two\na "quoted"\n', "document": 'one, two</s>a "quoted"</s>'}.get(
            unit, 'one, two\na "quoted"\n'
        )
    assert prepared(tmp_path, written(tmp_path, name, content), column="text", unit=unit) == expected


def test_held_out_text_is_a_column_too(tmp_path):
    table, other = written(tmp_path, "t.csv", CSV), written(tmp_path, "v.jsonl", '{"text": "four"}\n')
    options = TextOptions(column="text", valid=str(other))
    corpus = prepare_corpus(tmp_path, [str(table)], options, seed=1)
    assert decode(corpus.tokenizer, corpus.ids("valid").tolist()) == "four\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.jsonl",
            '{"text": "a"}\n{"text": "b"\n',
            ":2: is not JSON (Expecting ',' delimiter: column 13);",
        ),
        ("t.jsonl", '{"text": "a"}\n' + "[" * 100_000 + "\n", ":2: is nested too deeply; each line must be an object"),
        ("t.jsonl", '["a"]\n', ":1: found a list, but each line must be an object with a text in text"),
        ("t.jsonl", "3\n", ":1: found a number, but each line must be an object"),
        ("t.jsonl", '\n{"body": "a"}\n', ":2: found the fields body, but no text; each line must"),
        ("t.jsonl", "{}\n", ":1: found the fields (none), but no text"),
        ("t.jsonl", '{"text": {"a": 1}}\n', ":1: found an object in text, but each line must"),
        ("t.jsonl", '{"text": true}\n', ":1: found true or false in text"),
        ("t.jsonl", '{"text": "\\u0000"}\n', ":1: found a NUL character in text"),
        ("t.csv", "id,body\n1,a\n", ":1: found the columns id, body, but no text"),
        ("t.csv", "id,text\n1,a\n2\n", ":3: found 1 where the header has 2 columns"),
        ("t.csv", 'id,text\n1,"a\n', ":2: found a quoted cell that is not closed"),
        ("t.csv", "", ": is empty"),
        ("t.csv", "id,text\n1,\n", ": contains only white space"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path, name, content, message):
    path = written(tmp_path, name, content)
    with pytest.raises(TextError) as error:
        prepared(tmp_path, path, column="text")
    assert str(error.value).startswith(f"{path}{message}")


def test_half_a_pair_of_surrogates_is_no_character(tmp_path):
    assert prepared(tmp_path, written(tmp_path, "t.jsonl", '{"text": "a\\ud800b"}\n'), column="text") == "a\ufffdb\n"


@pytest.mark.parametrize(("name", "content"), [("t.csv", CSV), ("t.jsonl", JSON)])
def test_of_a_beginning_whole_rows_are_read(tmp_path, name, content):
    (source,) = find_sources([str(written(tmp_path, name, content))])
    sources = [replace(source, column=Column("text", "line"))]
    lines = EXPECTED["line"]
    for fraction in (0.55, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        text = Selection(sources, [], TextOptions(column="text", unit="line"), 1).beginning(fraction)
        read = "".join(read_text(text.sources, "utf-8"))
        assert lines.startswith(read)
        assert read.endswith("\n")
    assert next(decoded(sources[0], "utf-8")) == content


def test_bytes_have_no_columns():
    with pytest.raises((OptionError, UnusedOptionError), match="--column"):
        TextOptions(column="text", tokenizer="byte")


def test_a_table_is_only_noted_where_no_column_is_named(tmp_path, charnn):
    small = ("--steps", 1, "--hidden-size", 8, "--overwrite", "-o", tmp_path / "m")
    table, lines = (
        written(tmp_path, "t.csv", "id,text\n" + "1,some words\n" * 30),
        written(tmp_path, "t.jsonl", JSON * 9),
    )
    assert (
        "and is read as plain text, header and separators included; to train on a column, name it with --column"
        in charnn("train", table, *small).err
    )
    assert (
        f"{lines}: holds JSON lines with the fields text, id, and is read as plain text; to train on a field, name it"
        in charnn("train", lines, *small).err
    )
    result = charnn("train", table, "--column", "text", *small)
    assert result.status == 0
    assert "plain text" not in result.err
    config = json.loads((tmp_path / "m" / "config.json").read_bytes())
    assert config["corpus"]["train"]["num_chars"] + config["corpus"]["valid"]["num_chars"] == len("some words\n") * 30


def test_a_column_is_part_of_what_identifies_a_text(tmp_path):
    sources = find_sources([str(written(tmp_path, "t.csv", CSV))])
    keys = {
        Selection(sources, [], TextOptions(column=column), 1).cache_key(
            Selection(sources, [], TextOptions(), 1).facts()
        )
        for column in (None, "text", "id")
    }
    assert len(keys) == 3


def test_notes_of_decoding_come_through(tmp_path):
    path = written(tmp_path, "t.csv", CSV.replace("\n", "\r\n"))
    with collected_notices() as notes:
        assert prepared(tmp_path, path, column="text", unit="line") == EXPECTED["line"]
    assert "7 CRLF line ends became LF" in notes
