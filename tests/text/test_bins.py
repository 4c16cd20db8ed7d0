"""Numbers as tokens: bins by quantiles, their names, and what becomes of what is no number."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import TextOptions
from charnn.errors import ModelError, OptionError, TextError
from charnn.text.bins import BOUNDARY_ID, NUM_SPECIAL, UNKNOWN_ID, train_bins
from charnn.text.corpus import prepare_corpus
from charnn.text.quantiles import Bins, fit_bins
from charnn.text.tokenizers import decode, load_tokenizer

LIMIT = 1e300


def bins_of(values, most):
    return fit_bins(*np.unique(np.array(values, dtype=float), return_counts=True), most=most)


def test_bins_hold_equally_many_values_between_edges_in_the_middle_of_two():
    bins = bins_of([1, 2, 3, 4, 5, 6, 7, 8], most=4)
    assert bins == Bins((2.5, 4.5, 6.5), (1.0, 3.0, 5.0, 7.0), 1.0, 8.0, 0)
    assert bins.names() == ["(-inf,2.5)", "[2.5,4.5)", "[4.5,6.5)", "[6.5,inf)"]
    assert bins.texts() == ["1", "3", "5", "7"]
    assert bins.of(np.array([-9.0, 2.4, 2.5, 99.0])).tolist() == [0, 0, 1, 3]


def test_a_value_that_fills_several_quantiles_has_a_bin_of_its_own_and_the_others_share_the_rest():
    bins = bins_of([0] * 60 + [*range(1, 41)], most=5)
    assert bins.edges == (0.5, 10.5, 20.5, 30.5)
    assert bins.medians == (0.0, 5.0, 15.0, 25.0, 35.0)


@pytest.mark.parametrize(
    ("counts", "most", "edges"),
    [
        ([1] * 99 + [1000], 4, (32.5, 65.5, 98.5)),  # as where a sensor saturates
        (
            [1] * 50 + [150] + [1] * 40,
            5,
            (24.5, 49.5, 50.5, 70.5),
        ),  # two bins for the 50 before it, two for the 40 after it
        ([1, 90, 1, 90, 1, 90, 1, 90, 1], 6, (0.5, 2.5, 4.5, 6.5, 7.5)),  # what has no bin joins the value before it
    ],
)
def test_wherever_such_a_value_lies_the_others_share_the_rest(counts, most, edges):
    assert fit_bins(np.arange(len(counts), dtype=float), np.array(counts), most=most).edges == edges


@given(st.lists(st.sampled_from([1, 1, 2, 5, 40, 300]), min_size=1, max_size=30), st.integers(1, 9))
def test_there_are_at_most_so_many_bins_and_none_is_empty(counts, most):
    bins = fit_bins(np.arange(len(counts), dtype=float), np.array(counts), most=most)
    assert len(bins) == min(most, len(counts)) or max(counts) > sum(counts) / most
    assert len(bins) <= most
    assert np.bincount(bins.of(np.arange(len(counts), dtype=float)), minlength=len(bins)).all()


def test_names_of_very_large_and_small_edges_keep_their_exponents():
    assert bins_of([1e17, 3e20, 3e200], most=3).names() == [
        "(-inf,1.5005e+20)",
        "[1.5005e+20,1.5e+200)",
        "[1.5e+200,inf)",
    ]
    assert bins_of([1e-20, 3e-20], most=2).names() == ["(-inf,3e-20)", "[3e-20,inf)"]


@pytest.mark.parametrize("parts", [2, 4, 5])
def test_decimals_are_seen_though_not_all_values_are_examined(parts):
    values = np.arange(parts * 10_000 + 1) / parts
    assert fit_bins(values, np.ones(len(values), dtype=int), most=4).decimals == (2 if parts == 4 else 1)


def test_fewer_distinct_values_than_bins_have_one_each():
    assert bins_of([3, 1, 1, 2], most=50).medians == (1.0, 2.0, 3.0)
    assert bins_of([7.25], most=50) == Bins((), (7.25,), 7.25, 7.25, 2)


@pytest.mark.parametrize("value", [1e-9, 1e20, -1e300, 0.1 + 0.2, 12.0])
def test_a_median_is_written_as_the_number_that_it_is(value):
    (text,) = bins_of([value], most=3).texts()
    assert float(text) == value


@given(st.lists(st.floats(-LIMIT, LIMIT), min_size=1, max_size=60), st.integers(1, 12), st.data())
def test_what_is_decoded_is_encoded_as_the_same_bins(values, size, data):
    tokenizer = train_bins([" ".join(map(repr, values))], "stream", size=size + NUM_SPECIAL)
    assert len(tokenizer.vocabulary) <= size + NUM_SPECIAL
    assert sum(tokenizer.vocabulary.counts) == len(values)
    others = data.draw(st.lists(st.floats(-LIMIT, LIMIT), max_size=20))
    ids = tokenizer.encode("\n".join(map(repr, others)))
    assert tokenizer.encode(decode(tokenizer, ids)).tolist() == ids.tolist()
    loaded = load_tokenizer("somewhere", tokenizer.files())
    assert loaded.encode(" ".join(map(repr, others))).tolist() == ids.tolist()


@given(st.lists(st.lists(st.integers(-5, 5), max_size=4), max_size=4))
def test_lines_are_closed_by_the_boundary(rows):
    text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    tokenizer = train_bins(["1 2 3 4 5 -1 -2 -3 -4 -5 0"], "line", size=None)
    ids = tokenizer.encode(text).tolist()
    assert ids.count(BOUNDARY_ID) == len(rows)
    assert decode(tokenizer, ids) == text
    words = [word for row in rows for word in [*map(str, row), "\n"]]
    assert [token.text for token in tokenizer.tokenize(text)] == words


def test_a_missing_value_is_unknown():
    tokenizer = train_bins(["1 <unk> 2 <unk>"], "stream", size=None)
    assert tokenizer.vocabulary.counts[UNKNOWN_ID] == 2
    assert tokenizer.encode("2 <unk>").tolist() == [NUM_SPECIAL + 1, UNKNOWN_ID]
    assert tokenizer.ids_of(np.array([1.0, math.nan])).tolist() == [NUM_SPECIAL, UNKNOWN_ID]


CSV = "date,temperature\n1,12.5\n2,\n3,-3\n4,13.1\n"
JSON = '{"temperature": 12.5}\n{"temperature": null}\n{"temperature": "-3"}\n{"temperature": 13.1}\n'


def prepared(folder, name, content, **options):
    (folder / name).write_text(content, encoding="utf-8")
    given = {"tokenizer": "bins", "valid_fraction": 0.0, **options}
    return prepare_corpus(folder, [str(folder / name)], TextOptions(**given), seed=1)


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("t.csv", CSV, "temperature"),
        ("t.csv", CSV.replace(",", ";"), "temperature"),
        ("t.tsv", CSV.replace(",", "\t"), "temperature"),
        ("t.jsonl", JSON, "temperature"),
        ("t.txt", "12.5 <unk>\n\n-3 13.1\n", None),
    ],
)
def test_numbers_are_read_from_a_column_a_field_or_a_text(tmp_path, name, content, column):
    corpus = prepared(tmp_path, name, content, column=column)
    assert decode(corpus.tokenizer, corpus.ids("train").tolist()) == "12.5\n<unk>\n-3.0\n13.1"
    assert corpus.train.num_unknown == 1


def test_with_lines_a_cell_is_a_series(tmp_path):
    corpus = prepared(tmp_path, "t.csv", "a,b\n1,2 3\n2,4\n", column="b", unit="line")
    assert decode(corpus.tokenizer, corpus.ids("train").tolist()) == "2 3\n4\n"


def test_the_held_out_part_begins_with_a_whole_number(tmp_path):
    text = "".join(f"{number}.125\n" for number in range(1000, 1100))
    corpus = prepared(tmp_path, "t.txt", text, valid_fraction=0.105)
    assert (corpus.train.num_tokens, corpus.valid.num_tokens) == (89, 11)
    assert corpus.tokenizer.bins.highest == 1088.125


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("t.csv", 'a;b\n1;"12,5"\n', "b", "t.csv:2: in b, found '12,5', which is not a number; write a point before the decimals"),
        ("t.csv", "a,b\n1,2\n\n2,n/a\n", "b", "t.csv:4: in b, found 'n/a', which is not a finite number; "),
        ("t.csv", "a,b\n1,nan\n", "b", "t.csv:2: in b, found 'nan', which is not a finite number; "),
        ("t.csv", "a,b\n1,2\n1,-inf\n", "b", "t.csv:3: in b, found '-inf', which is not a finite number; "),
        ("t.csv", "a,b\n1,2\n1,1 234.5\n", "b", "t.csv:3: in b, found 2 numbers, '1 234.5', but a row of a series has one; "),
        ("t.csv", "a,b\n1,1\xa0234\n", "b", "t.csv:2: in b, found 2 numbers, '1\\xa0234', but a row of a series has one; "),
        ("t.csv", "a,b\n1,1_000\n", "b", "t.csv:2: in b, found '1_000', which is not a finite number; "),
        ("t.csv", "a,b\n1,2\n", "c", "t.csv:1: found the columns a, b, but no c; name one of these"),
        ("t.csv", 'a,b\n1,2\n1,"3\n4,5\n', "b", "t.csv:3: found a quoted cell that is not closed; "),
        ("t.jsonl", '{"b": 1}\n{"b": NaN}\n', "b", "t.jsonl:2: in b, found 'nan', which is not a finite number; "),
        ("t.jsonl", '{"b": true}\n', "b", "t.jsonl:1: found true or false in b, but each line must be an object with a number in b"),
        ("t.txt", "1 2\n3\n4 1e999\n", None, "t.txt:3: found '1e999', which is not a finite number; "),
        ("t.txt", "1 2\n3\n12,5\n", None, "t.txt:3: found '12,5', which is not a number; write a point before the decimals, as in 12.5"),
        ("t.csv", "a,b\n1,\n2,\n", "b", "t.csv: the column b has no number to train on; write "),
        ("t.txt", "<unk>\n", None, "t.txt has no number to train on; write "),
        ("t.csv", 'a,b\n1,"1,000"\n', "b", "write it without commas, as in 1000, or 1.000 if the comma stands before decimals"),
        ("t.csv", 'a,b\n1,"-1,000,000.5"\n', "b", "found '-1,000,000.5', which is not a number; write it without commas, as in -1000000.5"),
        ("t.csv", 'a,b\n1,"0,125"\n', "b", "write a point before the decimals, as in 0.125"),
        ("t.csv", "a\n1\n", None, "t.csv:1: found 'a', which is not a finite number; write numbers as in -3 or 12.5, and leave a missing "
            "value empty; train, score and sample read one column of a table with --column NAME"),
        ("t.txt", "day 1;2\n", None, "; train, score and sample read one column of a table with --column NAME"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_an_error_that_names_the_line(tmp_path, name, content, column, message):
    with pytest.raises(TextError) as raised:
        prepared(tmp_path, name, content, column=column)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_number_that_was_typed_is_named_without_a_line():
    tokenizer = train_bins(["1 2 3"], "stream", size=None)
    with pytest.raises(
        TextError, match=r"^a model of numbers reads numbers between white space, but found 'two', which "
    ):
        tokenizer.encode("1 two")


@pytest.mark.parametrize(
    "change", [{"edges": [1.5, 1.25]}, {"medians": [1.0, 2.0]}, {"lowest": "x"}, {"highest": math.inf}, {"edges": None}]
)
def test_damaged_bins_are_refused(change):
    stored = json.loads(train_bins(["1 2 3"], "stream", size=None).files()["tokenizer.json"])
    stored["bins"] |= change
    with pytest.raises(ModelError, match=r"^somewhere/tokenizer.json: is not a valid tokenizer "):
        load_tokenizer("somewhere", {"tokenizer.json": json.dumps(stored).encode()})


def test_a_minimum_count_means_nothing_for_bins():
    with pytest.raises(OptionError, match=r"^--min-count: "):
        TextOptions(tokenizer="bins", min_count=2)
