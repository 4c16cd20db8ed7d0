"""What one sees of the reading of a text, and what a second run takes from the first one's."""

import json
import re
import sys

import pytest

from charnn.cli.output import console
from charnn.cli.output.progress_line import ProgressLine, in_words
from charnn.text import selection
from charnn.text.progress import Meter, Progress
from tests.conftest import FABLES

SMALL = (
    "--hidden-size",
    16,
    "--embedding-size",
    8,
    "--precision",
    "fp32",
    "--batch-size",
    4,
    "--bptt",
    16,
    "--steps",
    3,
)
TEXT = FABLES.read_text(encoding="utf-8")[:20_000]


def progress(seconds, num_done=31, num_total=100, what="reading big.txt", unit="bytes"):
    return Progress(what, unit, num_done * 1_000_000, num_total * 1_000_000, seconds)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (progress(3.69), "reading big.txt: 31 %, 8.4 MB/s, 8 s left"),
        (progress(0.0, num_done=0), "reading big.txt: 0 %, 0.0 MB/s"),
        (progress(31.0), "reading big.txt: 31 %, 1.0 MB/s, 1 min 9 s left"),
        (
            progress(2.0, what="counting n-grams", unit="tokens"),
            "counting n-grams: 31 %, 15,500,000 tokens/s, 4 s left",
        ),
    ],
)
def test_progress_in_words(made, words):
    assert in_words(made) == words


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("charnn.cli.output.progress_line.time.monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_every_ten_seconds_at_most(capsys, clock):
    with ProgressLine() as line:
        for second in range(26):
            clock[0] = 100.0 + second
            line.show(progress(float(second), num_done=second))
        console.notice("something else")
        line.show(progress(30.0, num_done=100))
    shown = capsys.readouterr().err.splitlines()
    assert [part.split(":")[1] for part in shown[:-1]] == [" reading big.txt"] * 3
    assert [re.search(r"(\d+) %", part)[1] for part in shown[:-1]] == ["1", "11", "21"]
    assert shown[-1] == "charnn: something else"


def test_on_a_terminal_one_line_is_rewritten_and_cleared(capsys, clock, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressLine() as line:
        for seconds in (0.5, 1.0, 1.1, 1.3):
            clock[0] = 100.0 + seconds
            line.show(progress(seconds))
        console.notice("something else")
        clock[0] = 110.0
        line.show(progress(9.0))
    clear = "\r\x1b[2K"
    parts = capsys.readouterr().err.split(clear)
    assert parts == [
        "",
        "charnn: reading big.txt: 31 %, 31.0 MB/s, 2 s left",
        "charnn: reading big.txt: 31 %, 23.8 MB/s, 3 s left",
        "charnn: something else\n",
        "charnn: reading big.txt: 31 %, 3.4 MB/s, 20 s left",
        "",
    ]


def test_work_of_less_than_a_second_is_not_shown(capsys):
    with ProgressLine() as line:
        meter = Meter("reading big.txt", "bytes", 10, line.show)
        for _ in range(10):
            meter.advance(1)
    assert capsys.readouterr().err == ""


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "MIN_TEXT_BYTES", 0)
    monkeypatch.setenv("CHARNN_CACHE_DIR", str(tmp_path / "kept"))
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "kept"


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_second_run_counts_nothing_again_and_comes_to_the_same_model(
    charnn, cached, tmp_path, monkeypatch, direction
):
    train = ("train", "text.txt", "--tokenizer", "word", "--direction", direction, *SMALL, "--ngram-order", 3)
    first = charnn(*train, "-o", "first")
    monkeypatch.setattr("charnn.training.run.ngram_model.estimate_ngrams", None)
    monkeypatch.setattr("charnn.training.run.create.learn_spelling", None)
    second = charnn(*train, "-o", "second")
    assert (first.status, second.status) == (0, 0), second.err
    assert "taken from the cache" not in first.err
    assert "charnn: text.txt: taken from the cache, encoded by an earlier run\n" in second.err
    assert "charnn: n-grams up to order 3: taken from the cache, counted by an earlier run\n" in second.err
    for name in (
        "train.bin",
        "valid.bin",
        "tokenizer.json",
        "ngram.safetensors",
        "spelling.safetensors",
        "model.safetensors",
    ):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_another_order_is_counted_anew(charnn, cached):
    train = ("train", "text.txt", *SMALL)
    assert charnn(*train, "-o", "first", "--ngram-order", 3).status == 0
    result = charnn(*train, "-o", "second", "--ngram-order", 2)
    assert "text.txt: taken from the cache" in result.err
    assert "n-grams up to" not in result.err


def test_an_empty_variable_means_no_cache(charnn, cached, monkeypatch):
    monkeypatch.setenv("CHARNN_CACHE_DIR", "")
    for name in ("first", "second"):
        assert "taken from the cache" not in charnn("train", "text.txt", *SMALL, "-o", name).err
    assert not cached.exists()
    assert "no cache: CHARNN_CACHE_DIR is empty" in charnn("info", "first", "--files").out
    assert json.loads(charnn("info", "first", "--files", "--json").out)["cache"] is None


def test_info_says_which_files_there_are_and_what_the_cache_keeps(charnn, cached, tmp_path):
    charnn("train", "text.txt", *SMALL, "-o", "run", "--ngram-order", 2)
    (tmp_path / "run" / "notes.md").write_text("mine")
    shown = charnn("info", "run", "--files").out
    files = {path.name: path.stat().st_size for path in (tmp_path / "run").iterdir()}
    for name, size in (*files.items(), ("total", sum(files.values()))):
        assert re.search(rf"{re.escape(name)} +{size:,} ", shown), name
    assert "for --mix-ngram and --resume" in shown
    found = json.loads(charnn("info", "run", "--files", "--json").out)
    assert {file["name"]: file["num_bytes"] for file in found["runs"][0]["files"]} == files
    assert [file["name"] for file in found["runs"][0]["files"] if not file["purpose"]] == ["notes.md"]
    kept = found["cache"]["entries"]
    assert sorted(entry["what"] for entry in kept) == ["char tokens of text.txt", "n-grams of order 2"]
    size = sum(path.stat().st_size for path in cached.rglob("*") if path.is_file())
    assert sum(entry["num_bytes"] for entry in kept) == size
    assert f"cache {cached}: {size:,} of 2,147,483,648 bytes at most, 2 entries" in re.sub(r"\s+", " ", shown)


def test_files_of_what_is_no_model_are_not_listed(charnn, tmp_path):
    assert charnn("info", tmp_path, "--files").status == 1
