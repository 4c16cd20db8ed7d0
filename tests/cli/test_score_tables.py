"""`charnn score --column`: tables in, tables out, by sentence and by region."""

import csv
import gzip
import io
import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charnn.config import ScoreOptions
from charnn.errors import OptionError
from tests.conftest import FABLES, train_quietly

ITEMS = (
    'item,condition,sentence\n7,a,"The fox, he said, slept."\n\n8,b,"She said ""no"".\nTwice."\n9,a,The heron\u2603\n'
)
REGIONS = "item,subject,verb,rest\n1,The heron,wrote,it down.\n2,The fox ,slept,\n3, The cats,, were\tfull.\n"
CELLS = ["The fox, he said, slept.", 'She said "no".\nTwice.', "The heron\u2603"]


def records(result):
    assert result.status == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def tsv(result):
    assert result.status == 0, result.err
    return pandas.read_csv(io.StringIO(result.out), sep="\t", keep_default_na=False)


@pytest.fixture
def items():
    Path("items.csv").write_text(ITEMS, encoding="utf-8")
    return "items.csv"


@pytest.fixture
def regions():
    Path("regions.csv").write_text(REGIONS, encoding="utf-8")
    return "regions.csv"


@pytest.fixture(scope="session")
def word_run(tmp_path_factory):
    text = FABLES.read_text(encoding="utf-8")[:6_000]
    options = ("--tokenizer", "word", "--steps", 3, "--batch-size", 4, "--bptt", 16, "--vocab-size", 80)
    return train_quietly(tmp_path_factory.mktemp("words"), text, *options)


@pytest.fixture(scope="session")
def both_run(tmp_path_factory):
    text = FABLES.read_text(encoding="utf-8")[:6_000]
    options = ("--tokenizer", "subword", "--vocab-size", 60, "--direction", "both", "--steps", 3, "--batch-size", 4)
    return train_quietly(tmp_path_factory.mktemp("both"), text, *options, "--bptt", 16)


def test_each_cell_of_a_column_is_scored_as_a_text_of_its_own(charnn, run, items):
    found = records(charnn("score", "-m", run, items, "--column", "sentence", "--format", "jsonl"))
    texts = [part for text in CELLS for part in ("--text", text)]
    alone = records(charnn("score", "-m", run, *texts, "--format", "jsonl"))
    for record, other in zip(found, alone, strict=True):
        assert record["log_prob"] == pytest.approx(other["log_prob"], abs=1e-5)
        assert {name: record[name] for name in ("num_tokens", "num_unknown", "num_chars")} == {
            name: other[name] for name in ("num_tokens", "num_unknown", "num_chars")
        }
        assert "file" not in other
    assert list(found[0])[:5] == ["item", "condition", "row", "file", "file_line"]
    assert [record["text"] for record in found] == CELLS
    assert [(record["item"], record["condition"]) for record in found] == [("7", "a"), ("8", "b"), ("9", "a")]
    assert [(record["row"], record["file"], record["file_line"]) for record in found] == [
        (1, "items.csv", 2),
        (2, "items.csv", 4),
        (3, "items.csv", 6),
    ]


def test_a_table_comes_out_flat(charnn, run, items):
    printed = charnn("score", "-m", run, items, "--column", "sentence", "--format", "tsv")
    table = tsv(printed)
    assert list(table.columns) == [
        *("item", "condition", "row", "log_prob", "log_base", "num_tokens", "num_unknown"),
        *("perplexity", "perplexity_excluding_unknown", "text"),
    ]
    assert list(table["item"]) == [7, 8, 9]
    assert list(table["text"]) == [cell.replace("\n", "\\n") for cell in CELLS]
    charnn("score", "-m", run, items, "--column", "sentence", "--format", "tsv", "-o", "out.tsv", "--summary", "s.json")
    assert Path("out.tsv").read_text(encoding="utf-8") == printed.out
    facts = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert facts["nats"] == pytest.approx(table["log_prob"].sum(), abs=1e-6)
    assert "files" not in facts
    shown = charnn("score", "-m", run, items, "--column", "sentence").out.splitlines()
    assert shown[1].split()[0] == "row"
    assert shown[3].split()[0] == "1"
    assert shown[3].endswith("The fox, he said, slept.")


def test_several_columns_are_one_record_each(charnn, run, regions):
    arguments = ("score", "-m", run, regions, "--column", "verb", "--column", "subject")
    found = records(charnn(*arguments, "--format", "jsonl"))
    assert [(record["row"], record["column"], record["text"]) for record in found][:3] == [
        (1, "verb", "wrote"),
        (1, "subject", "The heron"),
        (2, "verb", "slept"),
    ]
    assert all(set(record) & {"item", "rest", "verb", "subject"} == {"item", "rest"} for record in found)
    table = tsv(charnn(*arguments, "--format", "tsv"))
    assert list(table.columns)[:4] == ["item", "rest", "row", "column"]
    assert list(table["column"]) == ["verb", "subject"] * 3
    result = charnn(*arguments)
    assert "subject: The heron" in result.out
    assert "regions.csv:4: found an empty cell, scored as an empty text; 1 in all" in result.err


def test_a_table_may_be_tsv_compressed_marked_or_piped(charnn, run, items):
    expected = charnn("score", "-m", run, items, "--column", "sentence", "--format", "tsv").out
    Path("bom.csv").write_bytes(b"\xef\xbb\xbf" + ITEMS.replace("\n", "\r\n").encode())
    Path("items.csv.gz").write_bytes(gzip.compress(ITEMS.encode()))
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=";", lineterminator="\n").writerows(csv.reader(io.StringIO(ITEMS)))
    Path("semicolons.csv").write_text(buffer.getvalue(), encoding="utf-8")
    for file in ("bom.csv", "items.csv.gz", "semicolons.csv"):
        assert charnn("score", "-m", run, file, "--column", "sentence", "--format", "tsv").out == expected
    command = [
        sys.executable,
        "-m",
        "charnn",
        "score",
        "-m",
        str(run),
        "-",
        "--column",
        "sentence",
        "--format",
        "jsonl",
    ]
    piped = subprocess.run(command, input=ITEMS.encode(), capture_output=True, check=True)
    assert [json.loads(line)["file"] for line in piped.stdout.splitlines()] == ["standard input"] * 3
    Path("items.tsv").write_text('item\tsentence\n1\t"Go!" she said\n', encoding="utf-8")
    (record,) = records(charnn("score", "-m", run, "items.tsv", "--column", "sentence", "--format", "jsonl"))
    assert record["text"] == '"Go!" she said'


def test_a_column_named_like_a_field_is_renamed_and_kept(charnn, run):
    Path("t.csv").write_text("text,table_text,row,num_chars,words,line\nmine,too,r,n,w,The fox\n", encoding="utf-8")
    for form in ("jsonl", "tsv"):
        result = charnn("score", "-m", run, "t.csv", "--column", "line", "--format", form)
        found = records(result)[0] if form == "jsonl" else dict(tsv(result).iloc[0])
        assert (found["table_table_text"], found["table_text"], found["table_row"]) == ("mine", "too", "r")
        assert (found["table_num_chars"], found["words"], found["text"], found["row"]) == ("n", "w", "The fox", 1)
        assert "the table's column row becomes table_row, since row is a field of a score" in result.err
        assert "column words" not in result.err
    assert "becomes" not in charnn("score", "-m", run, "t.csv", "--column", "line").err
    by_word = charnn("score", "-m", run, "t.csv", "--column", "line", "--by-word", "--format", "jsonl")
    assert records(by_word)[0]["table_words"] == "w"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (
            "a,sentence\n1,x\n",
            "sentense",
            "t.csv:1: found the columns a, sentence, but no sentense; did you mean sentence?",
        ),
        ("a,b\n1,x\n", "text", "t.csv:1: found the columns a, b, but no text; name one of these"),
        ("a, text\n1,x\n", "text", "t.csv:1: found the columns a,  text, but no text; did you mean ' text'?"),
        ("a,b\n1\n", "b", "t.csv:2: found 1 where the header has 2 columns"),
        ("a,a\n1,2\n", "a", "t.csv:1: found a column twice in a, a"),
        ("a,b\n", "b", "t.csv: found no row with text in b; write one per line"),
        ("", "b", "t.csv: found no header"),
        ('a,b\n1,"x\n2,y\n', "b", "t.csv:2: found a quoted cell that is not closed; add the closing quote"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_wrong_with_a_table_is_one_line(charnn, run, text, column, message):
    Path("t.csv").write_text(text, encoding="utf-8")
    result = charnn("score", "-m", run, "t.csv", "--column", column)
    assert (result.status, result.err.count("\n"), "Traceback" in result.err) == (1, 1, False)
    assert message in result.err


def test_a_missing_column_is_told_before_anything_is_fitted(charnn, run, items):
    result = charnn("score", "-m", run, items, "--column", "text", "--cache")
    assert (result.status, result.err.count("\n")) == (1, 1)


def test_what_a_table_is_read_from_is_not_overwritten(charnn, run, items):
    result = charnn("score", "-m", run, items, "--column", "sentence", "-o", items)
    assert "which the command reads from" in result.err
    assert Path(items).read_text(encoding="utf-8") == ITEMS


def test_a_header_may_hold_a_line_end(charnn, run):
    Path("t.csv").write_text('"reading\ntime",text\n312,The fox\n', encoding="utf-8")
    (record,) = records(charnn("score", "-m", run, "t.csv", "--column", "text", "--format", "jsonl"))
    assert (record["reading\ntime"], record["file_line"]) == ("312", 3)


def test_several_tables_have_the_same_columns(charnn, run, items):
    Path("more.csv").write_text("condition,sentence,item\nb,The cats,10\n", encoding="utf-8")
    arguments = ("score", "-m", run, items, "more.csv", "--column", "sentence", "--summary", "s.json")
    table = tsv(charnn(*arguments, "--format", "tsv"))
    assert list(table["file"]) == ["items.csv"] * 3 + ["more.csv"]
    assert list(table["row"]) == [1, 2, 3, 1]
    assert (table["item"].iloc[3], table["condition"].iloc[3]) == (10, "b")
    by_file = json.loads(Path("s.json").read_text(encoding="utf-8"))["files"]
    assert by_file[1]["nats"] == pytest.approx(table["log_prob"].iloc[3], abs=1e-6)
    Path("more.csv").write_text("sentence,other\nThe cats,10\n", encoding="utf-8")
    result = charnn(*arguments)
    assert "more.csv:1: found the columns sentence, other, but items.csv has item, condition, sentence" in result.err


@pytest.mark.parametrize(
    "options",
    [
        ("--per-token",),
        ("--per-token", "--alternatives", 2),
        ("--by-word",),
        ("--by-word", "--spaces", "after"),
        ("--mix-ngram",),
        ("--exclude-unk",),
        ("--spell",),
        ("--cache", "--cache-weight", 0.2, "--cache-sharpness", 0.5),
        ("--log-base", 10, "--no-eos"),
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_columns_go_with_the_options_of_scores(charnn, run, items, options):
    texts = [part for text in CELLS for part in ("--text", text)]
    for form in ("jsonl", "tsv"):
        found = charnn("score", "-m", run, items, "--column", "sentence", "--format", form, *options)
        alone = charnn("score", "-m", run, *texts, "--format", form, *options)
        if form == "jsonl":
            of_cells, of_texts = records(found), records(alone)
            for record, other in zip(of_cells, of_texts, strict=True):
                assert {name: record[name] for name in other if name != "line"} == {
                    name: value for name, value in other.items() if name != "line"
                }
        else:
            of_cells, of_texts = tsv(found), tsv(alone)
            assert list(of_cells.columns) == ["item", "condition", "row", *of_texts.columns[1:]]
            assert of_cells.drop(columns=["item", "condition", "row"]).equals(of_texts.drop(columns=["line"]))
            assert list(of_cells["row"]) == list(of_texts["line"])


@pytest.mark.parametrize("form", ["kenlm", "srilm", "lmzoo", "neural-complexity"])
def test_other_programs_formats_have_their_own_columns_only(charnn, run, items, form):
    Path("lines.txt").write_text("The fox\nThe heron\n", encoding="utf-8")
    Path("lines.csv").write_text("item,text\n1,The fox\n2,The heron\n", encoding="utf-8")
    expected = charnn("score", "-m", run, "lines.txt", "--format", form).out.replace("lines.txt", "lines.csv")
    assert charnn("score", "-m", run, "lines.csv", "--column", "text", "--format", form).out == expected


def sums_by_row(found):
    sums: dict[int, float] = {}
    for record in found:
        sums[record["row"]] = sums.get(record["row"], 0.0) + record["surprisal_bits"]
    return list(sums.values())


SENTENCES = ["The heron wrote it down.", "The fox slept", " The cats were\tfull."]
COLUMNS = ("--column", "subject", "--column", "verb", "--column", "rest", "--by-region")


@pytest.mark.parametrize("spaces", ["before", "after"])
def test_regions_add_up_to_their_sentence(charnn, run, regions, spaces):
    arguments = ("score", "-m", run, regions, *COLUMNS, "--spaces", spaces, "--log-base", 10)
    found = records(charnn(*arguments, "--format", "jsonl"))
    sentences = [part for text in SENTENCES for part in ("--text", text)]
    alone = records(charnn("score", "-m", run, *sentences, "--format", "jsonl", "--log-base", 2, "--per-token"))
    assert sums_by_row(found) == pytest.approx([-record["log_prob"] for record in alone], abs=1e-4)
    of_first = [-token["log_prob"] for token in alone[0]["tokens"]]
    after = spaces == "after"
    cuts = [0, 9 + after, 15 + after, 24 + after]
    expected = [sum(of_first[start:end]) for start, end in pairwise(cuts)]
    expected += [] if after else of_first[24:]
    first = [record for record in found if record["row"] == 1]
    assert [record["surprisal_bits"] for record in first] == pytest.approx(expected, abs=1e-4)
    assert [record["region"] for record in first] == ["subject", "verb", "rest", *([] if after else ["</s>"])]
    assert [record["text"] for record in first][:3] == ["The heron", "wrote", "it down."]
    assert all(record["log_base"] == "10" for record in found)
    for record in found:
        assert record["log_prob"] == pytest.approx(-record["surprisal_bits"] * math.log10(2))
    assert sum(record["num_tokens"] for record in first) == 25
    assert first[0]["item"] == "1"


def test_an_empty_cell_is_a_region_that_the_row_lacks(charnn, run):
    Path("regions.csv").write_text(REGIONS + "4,,  ,\n", encoding="utf-8")
    result = charnn("score", "-m", run, "regions.csv", *COLUMNS, "--format", "tsv")
    table = tsv(result)
    assert list(table.columns) == [
        *("item", "row", "region", "text", "surprisal_bits", "log_prob", "log_base", "num_tokens", "num_unknown"),
    ]
    assert list(table["region"][table["row"] == 2]) == ["subject", "verb", "</s>"]
    assert list(table["region"][table["row"] == 3]) == ["subject", "rest", "</s>"]
    assert list(table["text"][table["row"] == 3]) == ["The cats", "were\\tfull.", ""]
    assert set(table["row"]) == {1, 2, 3}
    assert "regions.csv:5: found a row without text, which is left out; 1 in all" in result.err
    shown = charnn("score", "-m", run, "regions.csv", *COLUMNS, "--no-eos").out
    assert "surprisals in bits" in shown
    assert "subject  The heron" in shown
    assert "</s>" not in shown


def test_regions_keep_to_words_and_pieces_and_to_both_directions(charnn, word_run, both_run, regions):
    for options in (
        ("-m", word_run),
        ("-m", word_run, "--spaces", "after"),
        ("-m", word_run, "-m", word_run),
        ("-m", word_run, "--mix-ngram"),
        ("-m", word_run, "--spell"),
        ("-m", both_run, "--direction", "forward"),
        ("-m", both_run, "--direction", "backward"),
        ("-m", both_run, "--direction", "both"),
    ):
        found = records(charnn("score", regions, *COLUMNS, "--format", "jsonl", *options))
        rest = [option for option in options if option not in ("--spaces", "after")]
        sentences = [part for text in SENTENCES for part in ("--text", text)]
        alone = records(charnn("score", *sentences, "--format", "jsonl", *rest))
        bits = [-record["log_prob"] / math.log(2) for record in alone]
        assert sums_by_row(found) == pytest.approx(bits, abs=1e-4)
        assert sum(record["num_tokens"] for record in found) == sum(record["num_tokens"] for record in alone)
        assert sum(record["num_unknown"] for record in found) == sum(record["num_unknown"] for record in alone)


def test_unknown_tokens_may_be_excluded_from_regions(charnn, word_run):
    Path("r.csv").write_text("a,b\nzorgle the,zzz\n", encoding="utf-8")
    arguments = ("score", "-m", word_run, "r.csv", "--column", "a", "--column", "b", "--by-region", "--format", "jsonl")
    first, second, end = records(charnn(*arguments, "--exclude-unk"))
    (alone,) = records(
        charnn("score", "-m", word_run, "--text", "zorgle the zzz", "--exclude-unk", "--format", "jsonl")
    )
    assert first["log_prob"] + end["log_prob"] == pytest.approx(alone["log_prob"], abs=1e-5)
    assert (first["num_tokens"], first["num_unknown"]) == (1, 1)
    assert (second["surprisal_bits"], second["num_tokens"], second["num_unknown"]) == (None, 0, 1)
    first, second, _ = records(charnn(*arguments, "--no-bos"))
    assert first["log_prob"] is None
    assert second["log_prob"] is not None
    table = charnn(*arguments[:-2], "--no-bos").out
    assert "not scored" in table


def test_a_model_of_pieces_gives_no_space_to_the_region_before(charnn, both_run, regions):
    result = charnn("score", "-m", both_run, "--direction", "forward", regions, *COLUMNS, "--spaces", "after")
    assert (result.status, result.err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by_region": True}, "--by-region: has no effect without --column"),
        ({"column": ("a", "b", "a")}, "--column: found a twice; name each column once"),
        ({"column": ("a",), "pairs": "x"}, "--pairs: cannot be combined with --column"),
        ({"column": ("a",), "nbest": "x"}, "--nbest: cannot be combined with --column"),
        ({"column": ("a",), "unit": "document"}, "--unit: cannot be combined with --column"),
        ({"column": ("a",), "unit": "file"}, "--unit: cannot be combined with --column"),
        ({"column": ("a",), "state": "carry"}, "--state: cannot be combined with --column"),
        ({"column": ("a",), "rollout": 3}, "--rollout: cannot be combined with --column"),
        ({"column": ("a",), "by_region": True, "by_word": True}, "--by-word: cannot be combined with --by-region"),
        ({"column": ("a",), "by_region": True, "per_token": True}, "--per-token: cannot be combined with --by-region"),
        (
            {"column": ("a",), "by_region": True, "format": "lmzoo"},
            "--format lmzoo: cannot be combined with --by-region",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_makes_no_sense_with_columns_is_refused(options, message):
    with pytest.raises(OptionError) as error:
        ScoreOptions(**options)
    assert str(error.value).startswith(message)


def test_a_column_is_of_a_file(charnn, run):
    result = charnn("score", "-m", run, "--text", "The fox", "--column", "text")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "--text: cannot be combined with --column, which is of a FILE" in result.err


def test_a_model_of_bytes_reads_tables_as_text(charnn, tmp_path):
    options = ("--tokenizer", "byte", "--steps", 2, "--bptt", 8, "--batch-size", 2)
    run = train_quietly(tmp_path, "the caf\u00e9\n" * 60, *options)
    Path("t.csv").write_bytes("\ufefftext,item\r\nthe caf\u00e9,1\r\n".encode())
    (record,) = records(charnn("score", "-m", run, "t.csv", "--column", "text", "--format", "jsonl"))
    assert (record["text"], record["item"], record["num_bytes"]) == ("the caf\u00e9", "1", 10)
    assert "t.csv: looks like a table" in charnn("score", "-m", run, "t.csv").err


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.sampled_from(["a,b", "a\tb", "a;b;c", '"a","b"', "a", "", "b,a,"]),
    body=st.text(alphabet='ab ,;\t\n"\r\u2603\x85', max_size=30),
    options=st.sampled_from(
        [(), ("--by-region",), ("--per-token",), ("--column", "b"), ("--column", "b", "--by-region")]
    ),
    form=st.sampled_from(["table", "tsv", "jsonl"]),
)
def test_any_table_has_scores_or_one_clear_line(charnn, run, header, body, options, form):
    Path("t.csv").write_text(f"{header}\n{body}", encoding="utf-8", newline="")
    result = charnn("score", "-m", run, "t.csv", "--column", "a", *options, "--format", form)
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    assert result.status in (0, 1)
    if result.status:
        assert sum("error" in line for line in result.err.splitlines()) == 1
    elif form == "tsv":
        assert len({line.count("\t") for line in result.out.splitlines()}) == 1
    elif form == "jsonl":
        assert all(json.loads(line)["row"] >= 1 for line in result.out.splitlines())


def test_json_lines_are_scored_by_their_fields(charnn, run):
    objects = [
        {"who": "Ann", "text": "The fox"},
        {"who": None, "text": "two\nlines", "more": 3},
        {"who": 7, "text": "x"},
    ]
    lines = [json.dumps(each) for each in objects]
    Path("chat.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    found = records(charnn("score", "-m", run, "chat.jsonl", "--column", "text", "--format", "jsonl"))
    assert [(each["who"], each["text"], each["row"], each["file_line"]) for each in found] == [
        ("Ann", "The fox", 1, 1),
        ("", "two\nlines", 2, 3),
        ("7", "x", 3, 5),
    ]
    alone = records(charnn("score", "-m", run, "--text", "The fox", "--format", "jsonl"))
    assert found[0]["log_prob"] == pytest.approx(alone[0]["log_prob"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "x"}\n[1]', "chat.jsonl:2: found a list, but each line must be an object"),
        ("", "chat.jsonl:1: found no field; each line must be an object with its text in one of them"),
        ("{}", "chat.jsonl:1: found no field; each line must be an object with its text in one of them"),
        ('{"who": "Ann"}', "chat.jsonl:1: found the columns who, but no text; name one of these"),
    ],
)
def test_lines_that_are_no_objects_are_named(charnn, run, content, message):
    Path("chat.jsonl").write_text(content, encoding="utf-8")
    result = charnn("score", "-m", run, "chat.jsonl", "--column", "text")
    assert result.status == 1
    assert result.err.splitlines()[-1] == f"charnn: error: {message}"
