"""`charnn score` of several files: where each record is from, totals by file, and plain text that is a table."""

import gzip
import json
import math
from pathlib import Path

import pandas
import pytest

from charnn.text.tables import columns_of
from tests.conftest import FABLES, REPOSITORY, train_quietly


def records(result):
    assert result.status == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def texts():
    Path("many").mkdir()
    for name, text in {
        "a.txt": "The fox.\nThe heron wrote.",
        "b.txt": "\nA cat.\n\n\nIt slept\nwell.\n",
        "c.txt": FABLES.read_text(encoding="utf-8")[12_000:12_400],
    }.items():
        Path("many", name).write_text(text, encoding="utf-8")
    return [f"many/{name}.txt" for name in "abc"]


def test_records_name_their_file_and_the_line_in_it(charnn, run, texts):
    found = records(charnn("score", "-m", run, *texts[:2], "--format", "jsonl"))
    assert [(record["line"], record["file"], record["file_line"]) for record in found] == [
        *((number, "many/a.txt", number) for number in (1, 2)),
        *((number, "many/b.txt", number - 2) for number in range(3, 9)),
    ]
    documents = records(charnn("score", "-m", run, "many", "--unit", "document", "--format", "jsonl"))
    assert [(record["file"], record["file_line"]) for record in documents][:3] == [
        ("many/a.txt", 1),
        ("many/b.txt", 2),
        ("many/b.txt", 5),
    ]
    (stream,) = records(charnn("score", "-m", run, texts[0], "--unit", "stream", "--format", "jsonl"))
    assert (stream["file"], stream["file_line"]) == ("many/a.txt", 1)
    (stream,) = records(charnn("score", "-m", run, *texts, "--unit", "stream", "--format", "jsonl"))
    assert (stream["file"], stream["file_line"]) == (None, None)


@pytest.mark.parametrize("options", [(), ("--per-token",), ("--by-word",)], ids=str)
def test_tsv_names_the_file_if_there_are_several(charnn, run, texts, options):
    def header_and_rows(*files):
        lines = charnn("score", "-m", run, *files, "--format", "tsv", *options).out.splitlines()
        return lines[0].split("\t"), [line.split("\t") for line in lines[1:]]

    alone, _ = header_and_rows(texts[0])
    header, rows = header_and_rows(*texts[:2])
    assert header == [*alone, "file", "file_line"]
    assert {(row[-2], row[-1]) for row in rows} == {
        *(("many/a.txt", str(line)) for line in (1, 2)),
        *(("many/b.txt", str(line)) for line in range(1, 7)),
    }


def test_each_file_is_a_unit_that_is_scored_as_it_is_alone(charnn, run, texts, monkeypatch):
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 90)
    Path("many/d.txt").write_text("", encoding="utf-8")
    arguments = ("score", "-m", run, "many", "--unit", "file", "--summary", "s.json")
    found = records(charnn(*arguments, "--format", "jsonl"))
    assert [(record["line"], record["file"]) for record in found] == [
        (number, f"many/{name}.txt") for number, name in enumerate("abcd", start=1)
    ]
    facts = json.loads(Path("s.json").read_text(encoding="utf-8"))
    for record, totals, file in zip(found[:3], facts["files"][:3], texts, strict=True):
        (alone,) = records(charnn("score", "-m", run, file, "--unit", "stream", "--format", "jsonl"))
        assert record["log_prob"] == pytest.approx(alone["log_prob"], abs=1e-4)
        assert (record["num_tokens"], record["num_chars"]) == (alone["num_tokens"], alone["num_chars"])
        assert totals["file"] == file
        assert totals["perplexity"] == pytest.approx(math.exp(-record["log_prob"] / record["num_tokens"]))
    assert (found[3]["num_tokens"], facts["files"][3]["perplexity"]) == (0, None)
    assert facts["nats"] == pytest.approx(sum(record["log_prob"] for record in found))
    shown = charnn(*arguments).out
    assert shown.splitlines()[1].split()[-1] == "file"
    assert shown.splitlines()[3].endswith("many/a.txt")
    table = charnn(*arguments, "--format", "tsv").out.splitlines()
    assert [line.split("\t")[-2] for line in table] == ["file", *texts, "many/d.txt"]


@pytest.mark.parametrize("details", ["--per-token", "--by-word"])
def test_the_tokens_and_words_of_each_file_are_its_own(charnn, run, texts, details):
    arguments = ("score", "-m", run, *texts, "--unit", "file", details)
    found = records(charnn(*arguments, "--format", "jsonl"))
    name = "tokens" if details == "--per-token" else "words"
    rows = [line.split("\t") for line in charnn(*arguments, "--format", "tsv").out.splitlines()[1:]]
    assert [(int(row[0]), int(row[1])) for row in rows] == [
        (record["line"], position) for record in found for position in range(1, len(record[name]) + 1)
    ]
    if name == "tokens":
        for record, file in zip(found, texts, strict=True):
            assert "".join(token["token"] for token in record["tokens"]) == Path(file).read_text(encoding="utf-8")


def test_files_are_units_for_adapted_and_mixed_models_too(charnn, run, texts):
    arguments = ("score", "-m", run, *texts, "--unit", "file", "--format", "jsonl", "--summary", "s.json")
    for options in (("--mix-ngram",), ("--cache", "--cache-weight", 0.2, "--cache-sharpness", 0.5)):
        found = records(charnn(*arguments, *options))
        assert len(found) == 3
        facts = json.loads(Path("s.json").read_text(encoding="utf-8"))
        assert facts["nats"] == pytest.approx(sum(record["log_prob"] for record in found))
    assert facts["plain"]["nats"] != facts["nats"]
    assert "1" in charnn("score", "-m", run, "many", "--unit", "file").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--text", "a", "--unit", "file"), "--text: cannot be combined with --unit file"),
        (("many/a.txt", "--unit", "file", "--no-eos"), "--no-eos: has no effect without --unit line, document or tune"),
        (
            ("many/a.txt", "--unit", "file", "--state", "carry"),
            "--state: has no effect without --unit line, document or tune",
        ),
        (("many/a.txt", "--unit", "file", "--format", "kenlm"), "--unit file: cannot be combined with --format kenlm"),
    ],
    ids=lambda value: str(value)[-24:],
)
def test_what_makes_no_sense_with_files_as_units_is_refused(charnn, run, texts, arguments, message):
    result = charnn("score", "-m", run, *arguments)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert message in result.err


def test_an_empty_file_alone_is_an_error(charnn, run):
    Path("empty.txt").write_text("", encoding="utf-8")
    result = charnn("score", "-m", run, "empty.txt", "--unit", "file")
    assert result.status == 1
    assert "empty.txt: is empty; there is nothing to score" in result.err


def test_the_summary_has_totals_of_each_file_if_there_are_several(charnn, run, texts):
    found = records(charnn("score", "-m", run, *texts, "--format", "jsonl", "--summary", "s.json"))
    facts = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert [totals["file"] for totals in facts["files"]] == texts
    for totals in facts["files"]:
        nats = sum(record["log_prob"] for record in found if record["file"] == totals["file"])
        assert totals["nats"] == pytest.approx(nats)
        assert totals.keys() == facts.keys() - {"files", "models", "weights", "protocol", "options"} | {"file"}
    for options in ((texts[0],), (*texts, "--unit", "stream")):
        charnn("score", "-m", run, *options, "--summary", "s.json")
        assert "files" not in json.loads(Path("s.json").read_text(encoding="utf-8"))


TABLE = "item,condition,sentence\n1,a,The fox.\n2,b,The heron.\n"
NOTICE = "looks like a table, and is scored as plain text, header and separators included; to score a column, add "
NOTICE += "--column NAME (item, condition, sentence)"


@pytest.mark.parametrize("options", [(), ("--unit", "document"), ("--unit", "stream"), ("--unit", "file")], ids=str)
@pytest.mark.parametrize("name", ["items.csv", "items.txt", "items.csv.gz", "items.tsv"])
def test_a_table_that_is_scored_as_lines_is_noted(charnn, run, name, options):
    text = TABLE.replace(",", "\t") if name.endswith("tsv") else TABLE
    Path(name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    result = charnn("score", "-m", run, name, *options)
    assert result.status == 0
    assert result.err.count(f"{name}: {NOTICE}") == 1
    assert "looks like a table" not in charnn("score", "-m", run, name, "--column", "sentence").err


def test_one_notice_is_enough(charnn, run, texts):
    for name in ("x.csv", "y.csv"):
        Path(name).write_text(TABLE, encoding="utf-8")
    assert charnn("score", "-m", run, *texts, "x.csv", "y.csv").err.count("looks like a table") == 1
    assert "looks like a table" not in charnn("score", "-m", run, *texts).err


def test_training_on_a_table_is_noted(charnn):
    Path("items.csv").write_text(TABLE * 20, encoding="utf-8")
    Path("prose.txt").write_text("The fox, the heron\nand the cat.\n" * 20, encoding="utf-8")
    options = ("--steps", 1, "--hidden-size", 4, "--batch-size", 2, "--bptt", 8, "--ngram-order", 0)
    result = charnn("train", "prose.txt", "items.csv", "-o", "m", *options)
    assert result.status == 0, result.err
    assert (
        "items.csv: looks like a table with the columns item, condition, sentence, and is read as plain" in result.err
    )
    assert "looks like a table" not in charnn("train", "prose.txt", "-o", "n", *options).err


PROSE = {
    "verse": "Roses are red,\nViolets are blue,\nSugar is sweet,\n",
    "one comma each": "Once, a fox slept\nThen, a hen woke\nThus, it ended\n",
    "names": "Smith, John\nDoe, Jane\nRoe, Rick\n",
    "chat": "Ann: hi, there\nBen: well, hello\n",
    "timed chat": "12:01\tAnn\thello\n12:02\tBen\twell\n",
    "indented": "\tIt was late.\n\tIt was cold.\n",
    "numbers": "1,2,3\n4,5,6\n",
    "n-best": "u1\t-3.5\tthe fox\nu1\t-3.4\tthe hen\n",
    "columns without rows": "item,sentence\n",
    "ragged": "item,sentence\n1,a,b\n",
    "sentences": "It slept.\tIt woke.\nHe sat.\tHe ran.\n",
    "empty": "",
}


@pytest.mark.parametrize("text", PROSE.values(), ids=PROSE)
def test_prose_with_commas_and_tabs_is_no_table(text):
    assert columns_of("text.txt", text) is None


FILES = [*(REPOSITORY / "corpora").iterdir(), *REPOSITORY.glob("*.md"), *(REPOSITORY / "charnn").rglob("*.md")]
FILES += [REPOSITORY / "LICENSE", *(REPOSITORY / "charnn").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.md")]


def test_no_corpus_no_readme_and_no_program_is_a_table_but_the_three_that_are():
    tables = [file.name for file in FILES if columns_of(file.name, file.read_text(encoding="utf-8"))]
    assert sorted(tables) == ["agreement-pairs.tsv", "temperatures.csv", "voices.csv"]
    lines = FABLES.read_text(encoding="utf-8").splitlines(keepends=True)
    assert not any(columns_of("x.txt", "".join(lines[number:])) for number in range(0, len(lines), 7))


def test_what_pandas_and_r_write_is_a_table():
    frame = pandas.DataFrame({"item": [1, 2], "RT (ms)": [300, 312], "sentence": ["a, b", 'say "no"\nnow']})
    assert columns_of("t.txt", frame.to_csv()) == ["", "item", "RT (ms)", "sentence"]
    assert columns_of("t.txt", frame.to_csv(index=False, sep="\t").replace("\nnow", "")) == list(frame.columns)
    assert columns_of("t.txt", '"","item","sentence"\r\n"1",7,"a, b"\r\n') == ["", "item", "sentence"]
    assert columns_of("t.csv", "The fox\nThe heron\n") == ["The fox"]


@pytest.fixture(scope="session")
def word_runs(tmp_path_factory):
    text = FABLES.read_text(encoding="utf-8")[:6_000]
    options = ("--tokenizer", "word", "--steps", 30, "--batch-size", 4, "--bptt", 16, "--vocab-size", 30)
    made = {"forward": train_quietly(tmp_path_factory.mktemp("forward"), text, *options)}
    return made | {"both": train_quietly(tmp_path_factory.mktemp("both"), text, *options, "--direction", "both")}


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_no_gap_is_filled_with_an_unknown_word(charnn, word_runs, direction):
    run = word_runs[direction]
    (first, *_) = records(charnn("predict", "The ", "-m", run, "--format", "jsonl", "--on-unknown", "unk"))
    assert first["token"] == "<unk>"  # by far the most probable token: most words are unknown
    for max_tokens in (1, 2):
        filled = records(
            charnn(
                *("fill", "The ____ zorgled", "-m", run, "--on-unknown", "unk", "--format", "jsonl", "--top", 0),
                *("--beam", 1000, "--max-tokens", max_tokens),
            )
        )
        assert len(filled) > 20
        assert not any("<unk>" in filling["candidate"] for filling in filled)
    arguments = ("predict", "The ____ zorgled", "-m", run, "--on-unknown", "unk")
    for top in (10, 0):
        found = records(charnn(*arguments, "--format", "jsonl", "--top", top))
        assert len(found) == (top or 29)
        assert "<unk>" not in {each["token"] for each in found}
    assert sum(each["prob"] for each in found) < 0.99
    shown = charnn(*arguments)
    assert "<unk>" not in shown.out
    assert "remaining 20 tokens: 0." in shown.out
