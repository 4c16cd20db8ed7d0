import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.errors import TextError
from charnn.text.tables import read_table


def rows(text):
    return [row.cells for row in read_table("t", text.split("\n")).rows]


def test_a_csv_file_is_read_by_its_header():
    text = 'item,sentence\n1,"The cat, which ate, was full."\n\n2,"She said ""no"".\nTwice."\n3,Fine.'
    table = read_table("t", text.split("\n"))
    assert table.columns == ["item", "sentence"]
    assert list(table.rows) == [
        (2, {"item": "1", "sentence": "The cat, which ate, was full."}),
        (4, {"item": "2", "sentence": 'She said "no".\nTwice.'}),
        (6, {"item": "3", "sentence": "Fine."}),
    ]


@pytest.mark.parametrize("separator", ["\t", ";", ","])
def test_the_header_tells_what_separates_columns(separator):
    assert rows(f"a{separator}b\n1{separator}2") == [{"a": "1", "b": "2"}]


def test_quotes_of_a_tsv_file_are_text_unless_a_program_put_them_there():
    assert rows('a\tb\n"Go!"\tx') == [{"a": '"Go!"', "b": "x"}]
    assert rows('a\tb\n"He said ""Go!"""\tx') == [{"a": 'He said "Go!"', "b": "x"}]  # as pandas writes it
    assert rows('"a"\t"b"\n"Go!"\t2') == [{"a": "Go!", "b": "2"}]  # as R writes it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t: found no header; the first line of a table names its columns"),
        (
            "a,b\n1,2,3",
            "t:2: found 3 where the header has 2 columns; separate them by commas, and quote a cell that holds commas",
        ),
        ("a\tb\n1", "t:2: found 1 where the header has 2 columns; separate them by tabs"),
        ("a,a\n1,2", "t:1: found a column twice in a, a; give each a name of its own"),
        ('a,b\n1,"x"y', "t:2: is not CSV (',' expected after '\"'); double the quotes within a quoted cell"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(text, message):
    with pytest.raises(TextError) as error:
        rows(text)
    assert str(error.value) == message


CELL = st.text(alphabet='ab ,;"\n', max_size=6)


@given(st.lists(st.tuples(CELL, CELL), max_size=5))
def test_what_the_csv_module_writes_is_read_as_it_was(cells):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("first", "second"), *cells])
    found = rows(file.getvalue().removesuffix("\n"))
    assert found == [{"first": first, "second": second} for first, second in cells if first or second]


def test_a_long_cell_and_excels_separator_line_are_read():
    long = "The heron wrote it down. " * 20_000
    table = read_table("t.csv", ["id,doc", f'1,"{long}"'])
    assert [row.cells["doc"] for row in table.rows] == [long]
    table = read_table("t.csv", ["sep=;", "item;satz, lang", "1;Der Reiher"])
    assert [row.cells for row in table.rows] == [{"item": "1", "satz, lang": "Der Reiher"}]
