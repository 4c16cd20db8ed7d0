"""`charnn score` and `charnn compare` through their entry point."""

import csv
import functools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charnn.config import ScoreOptions
from charnn.errors import OptionError
from charnn.library import load
from charnn.text.reading import whole_lines
from tests.conftest import FABLES, train_quietly

LINES = ["The heron wrote it down.", "", "The fox and the \u2603.", " a  b ", "x" * 300]


def records(result):
    assert result.status == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def lines_file(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def other_run(tmp_path):
    """A second model of the same text and vocabulary, hardly trained."""
    text = FABLES.read_text(encoding="utf-8")[:12_000]
    (tmp_path / "second").mkdir()
    return train_quietly(tmp_path / "second", text, "--steps", 3, "--batch-size", 8, "--bptt", 32, "--seed", 2)


def test_a_file_takes_its_place_whole(charnn, run, lines_file, tmp_path):
    printed = charnn("score", "-m", run, lines_file, "--format", "tsv")
    result = charnn("score", "-m", run, lines_file, "--format", "tsv", "-o", "out.tsv")
    assert (result.status, result.out) == (0, "")
    assert Path("out.tsv").read_text(encoding="utf-8") == printed.out
    assert printed.out.count("\n") == len(LINES) + 1
    assert not list(tmp_path.glob("out.tsv.*"))
    charnn("score", "-m", run, lines_file, "-o", "table.txt")
    assert Path("table.txt").read_text(encoding="utf-8") == charnn("score", "-m", run, lines_file).out
    for target in ("nowhere/out.tsv", tmp_path):
        refused = charnn("score", "-m", run, lines_file, "-o", target)
        assert (refused.status, refused.err.count("\n")) == (1, 1)


def test_an_error_in_the_middle_leaves_the_file_as_it_was(charnn, run, tmp_path, monkeypatch):
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 1 << 14)
    Path("bad.txt").write_bytes(b"The fox\n" * 7_000 + b"\xff\n")
    Path("out.tsv").write_text("mine", encoding="utf-8")
    result = charnn("score", "-m", run, "bad.txt", "--format", "tsv", "-o", "out.tsv")
    assert result.status == 1
    assert "bad.txt:7001: byte 0xff" in result.err
    assert Path("out.tsv").read_text(encoding="utf-8") == "mine"
    kept = tmp_path / "out.tsv.part"
    assert kept.read_text(encoding="utf-8").endswith("\n")
    assert "out.tsv.part has the lines written so far; out.tsv is unchanged" in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to another process")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_what_an_interrupt_leaves_is_whole_lines(run, tmp_path, ending):
    (tmp_path / "long.txt").write_text("The fox and the heron.\n" * 200_000, encoding="utf-8")
    command = [sys.executable, "-m", "charnn", "score", "-m", str(run), "long.txt", "--format", "jsonl"]
    for options in ((), ("-o", "out.jsonl")):
        with (tmp_path / "stdout").open("wb") as out:
            process = subprocess.Popen([*command, *options], stdout=out, stderr=subprocess.PIPE, cwd=tmp_path)
            growing = tmp_path / ("out.jsonl.new" if options else "stdout")
            deadline = time.monotonic() + 60
            while not (growing.exists() and growing.stat().st_size > 100_000) and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(ending)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + ending
        assert b"Traceback" not in errors
        assert b"interrupted after" in errors
        kept = tmp_path / ("out.jsonl.part" if options else "stdout")
        text = kept.read_text(encoding="utf-8")
        assert text.endswith("\n")
        found = [json.loads(line)["line"] for line in text.splitlines()]
        assert found == list(range(1, len(found) + 1))
        assert 0 < len(found) < 200_000
        assert not (tmp_path / "out.jsonl").exists()


def test_one_sentence_has_one_figure_alone_in_a_batch_and_in_a_long_file(charnn, run, tmp_path):
    sentence = "They say on the river that the heron wrote it down."
    (alone,) = records(charnn("score", "-m", run, "--text", sentence, "--format", "jsonl"))
    others = [sentence[: number % 50] + "x" * (number % 70) for number in range(5000)]
    for length in (1000, 5000):
        text = "\n".join([*others[: length // 2], sentence, *others[length // 2 : length]])
        Path("many.txt").write_text(text + "\n", encoding="utf-8")
        found = records(charnn("score", "-m", run, "many.txt", "--format", "jsonl"))
        assert found[length // 2]["log_prob"] == pytest.approx(alone["log_prob"], abs=1e-5)
        assert [record["line"] for record in found] == list(range(1, length + 2))


def test_a_running_text_is_scored_in_pieces_with_one_memory(charnn, run, monkeypatch):
    text = FABLES.read_text(encoding="utf-8")[12_000:13_000]
    Path("text.txt").write_text(text, encoding="utf-8")
    arguments = ("score", "-m", run, "text.txt", "--unit", "stream", "--summary", "s.json")
    options = {
        "record": ("jsonl",),
        "tokens": ("jsonl", "--per-token"),
        "words": ("jsonl", "--by-word"),
        "rows": ("tsv", "--per-token"),
        "word rows": ("tsv", "--by-word"),
    }
    whole = {name: charnn(*arguments, "--format", *each).out for name, each in options.items()}
    facts = json.loads(Path("s.json").read_text(encoding="utf-8"))
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 90)
    monkeypatch.setattr("charnn.text.reading.whole_lines", functools.partial(whole_lines, longest=60))
    pieces = {name: charnn(*arguments, "--format", *each).out for name, each in options.items()}
    again = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert again["nats"] == pytest.approx(facts["nats"], abs=1e-3)
    assert again["num_tokens"] == facts["num_tokens"] == len(text)
    one, other = (json.loads(found["tokens"])["tokens"] for found in (whole, pieces))
    assert [token["token"] for token in one] == [token["token"] for token in other] == list(text)
    assert [token["log_prob"] for token in one] == pytest.approx([token["log_prob"] for token in other], abs=1e-4)
    one, other = (json.loads(found["words"])["words"] for found in (whole, pieces))
    named = ("word", "start", "end", "num_tokens")
    assert [[word[name] for name in named] for word in one] == [[word[name] for name in named] for word in other]
    for name in ("rows", "word rows"):
        one, other = ([line.split("\t") for line in found[name].splitlines()] for found in (whole, pieces))
        assert [row[:3] for row in one] == [row[:3] for row in other]
        places = slice(7, 8) if name == "rows" else slice(3, 6)
        assert [row[places] for row in one] == [row[places] for row in other]
    assert pieces["rows"].count("\n") == len(text) + 1


def test_memory_is_carried_from_line_to_line_where_asked(charnn, run):
    text = FABLES.read_text(encoding="utf-8")[12_000:12_600].strip("\n") + "\n"
    Path("text.txt").write_text(text, encoding="utf-8")
    carried = records(charnn("score", "-m", run, "text.txt", "--state", "carry", "--format", "jsonl"))
    (stream,) = records(charnn("score", "-m", run, "text.txt", "--unit", "stream", "--format", "jsonl"))
    assert sum(record["log_prob"] for record in carried) == pytest.approx(stream["log_prob"], abs=1e-3)
    assert len(carried) == text.count("\n")


def test_unknown_tokens_are_counted_left_out_or_given_a_figure(charnn, run):
    def scored(*options):
        (record,) = records(
            charnn("score", "-m", run, "--text", "a\u2603b\u2603", "--format", "jsonl", "--summary", "s.json", *options)
        )
        return record, json.loads(Path("s.json").read_text(encoding="utf-8"))

    plain, facts = scored()
    without, excluded = scored("--exclude-unk")
    (tokens,) = records(charnn("score", "-m", run, "--text", "a\u2603b\u2603", "--format", "jsonl", "--per-token"))
    unknown = sum(token["log_prob"] for token in tokens["tokens"] if token["unknown"])
    assert (plain["num_unknown"], plain["num_tokens"], without["num_tokens"], without["num_unknown"]) == (2, 5, 3, 2)
    assert without["log_prob"] == pytest.approx(plain["log_prob"] - unknown, abs=1e-5)
    assert (without["num_chars"], without["num_bytes"], plain["num_bytes"]) == (3, 3, 9)
    assert (
        excluded["perplexity"]
        == excluded["perplexity_excluding_unknown"]
        == pytest.approx(facts["perplexity_excluding_unknown"], rel=1e-5)
    )
    given, _ = scored("--unk-penalty", "-3", "--log-base", "10")
    known = (plain["log_prob"] - unknown) / math.log(10)
    assert given["log_prob"] == pytest.approx(known - 6, abs=1e-5)
    spelled, _ = scored("--spell")
    num_known = sum(
        len(token) == 1 for token in json.loads((run / "tokenizer.json").read_text(encoding="utf-8"))["tokens"]
    )
    assert spelled["log_prob"] == pytest.approx(plain["log_prob"] - 2 * math.log(0x110000 - num_known), abs=1e-4)


def test_several_models_are_mixed_with_weights_given_or_fitted(charnn, run, other_run):
    Path("held_out.txt").write_text(FABLES.read_text(encoding="utf-8")[12_000:14_000], encoding="utf-8")
    text = ("--text", "The heron", "--format", "jsonl", "--no-eos")
    alone = [records(charnn("score", "-m", each, *text, "--per-token"))[0]["tokens"] for each in (run, other_run)]
    mixed = records(charnn("score", "-m", run, "-m", other_run, "-w", 3, "-w", 1, *text, "--per-token"))[0]["tokens"]
    for token, one, other in zip(mixed, *alone, strict=True):
        expected = 0.75 * math.exp(one["log_prob"]) + 0.25 * math.exp(other["log_prob"])
        assert math.exp(token["log_prob"]) == pytest.approx(expected, rel=1e-4)
    fitted = charnn(
        "score", "-m", run, "-m", other_run, "held_out.txt", "--fit-weights", "held_out.txt", "--summary", "s.json"
    )
    assert fitted.status == 0, fitted.err
    assert f"weights fitted on held_out.txt: {run} 0.9" in fitted.err or f"{run} 1.0" in fitted.err
    best = json.loads(Path("s.json").read_text(encoding="utf-8"))["nats"]
    for weights in ((1, 1), (1, 9)):
        given = [part for weight in weights for part in ("-w", weight)]
        charnn("score", "-m", run, "-m", other_run, "held_out.txt", *given, "--summary", "s.json")
        assert json.loads(Path("s.json").read_text(encoding="utf-8"))["nats"] < best


def test_models_that_do_not_go_together_are_refused(charnn, run, line_run):
    different = charnn("score", "-m", run, "-m", line_run, "--text", "a")
    assert "has a different vocabulary from" in different.err
    assert "charnn compare" in different.err
    assert (
        "-w: found 3 for 2 models"
        in charnn("score", "-m", run, "-m", run, "-w", 1, "-w", 1, "-w", 1, "--text", "a").err
    )
    assert "-w: has no effect without several models" in charnn("score", "-m", run, "-w", 1, "--text", "a").err
    assert "must be above 0" in charnn("score", "-m", run, "-m", run, "-w", 1, "-w", -1, "--text", "a").err


def test_adapting_stands_beside_the_plain_figure(charnn, run):
    text = "Zorgle met Flibbet. " * 40
    Path("names.txt").write_text(text, encoding="utf-8")
    plain_result = charnn("score", "-m", run, "names.txt", "--unit", "stream", "--summary", "s.json")
    assert plain_result.status == 0
    plain = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert "plain" not in plain
    rates = ("--dynamic-rate", "0.003", "--dynamic-decay", "0.001")
    for options in (("--cache",), ("--dynamic", *rates), ("--adapt", "--no-dynamic"), ("--adapt", *rates)):
        result = charnn("score", "-m", run, "names.txt", "--unit", "stream", "--summary", "s.json", *options)
        assert result.status == 0, result.err
        facts = json.loads(Path("s.json").read_text(encoding="utf-8"))
        assert facts["plain"]["nats"] == pytest.approx(plain["nats"], abs=1e-2)
        assert facts["nats"] > plain["nats"] + 50
        assert "without adaptation: perplexity" in result.out
    fitted = charnn("score", "-m", run, "--text", "The fox", "--cache", "--temperature", "fit")
    assert "cache of 2,000 tokens, weight 0." in fitted.err
    assert ": temperature 1." in fitted.err or ": temperature 0.9" in fitted.err
    given = charnn(
        "score",
        "-m",
        run,
        "--text",
        "The fox",
        "--cache",
        "--cache-weight",
        0,
        "--cache-sharpness",
        1,
        "--format",
        "jsonl",
    )
    (bare,) = records(charnn("score", "-m", run, "--text", "The fox", "--format", "jsonl"))
    assert json.loads(given.out)["log_prob"] == pytest.approx(bare["log_prob"], abs=1e-5)


def test_rates_of_learning_are_fitted_and_named(charnn, run):
    result = charnn("score", "-m", run, "--text", "The fox", "--dynamic")
    assert result.status == 0, result.err
    assert "--dynamic-stretch 20 --dynamic-rate" in result.err


def adapted(charnn, run, *options):
    """Return the records of ten lines of names that the model does not know, and the messages."""
    lines = [value for _ in range(10) for value in ("--text", "Zorgle met Flibbet.")]
    result = charnn("score", "-m", run, *lines, "--adapt", "--no-dynamic", "--format", "jsonl", *options)
    assert result.status == 0, result.err
    return [row["log_prob"] for row in map(json.loads, result.out.splitlines())], result.err


def test_adapting_learns_names_from_line_to_line_and_is_the_same_each_time(charnn, run):
    found, messages = adapted(charnn, run)
    assert found[9] > found[1] + 5 > found[0] + 5
    assert adapted(charnn, run) == (found, messages)
    scores = load(run).score(["Zorgle met Flibbet."] * 10, adapt=True, dynamic=False)
    assert [score.log_prob_nats for score in scores] == pytest.approx(found, abs=1e-9)
    with_cache, messages = adapted(charnn, run, "--cache", "--cache-weight", "0.1", "--cache-sharpness", "0.1")
    assert with_cache != pytest.approx(found, abs=1e-3)


def test_adapting_does_with_what_there_is_and_says_so(charnn, run):
    found, _ = adapted(charnn, run)
    (run / "train.bin").unlink()
    alone, messages = adapted(charnn, run)
    assert "has no train.bin, so only what is read is counted" in messages
    assert alone[9] > alone[0] + 5
    assert alone != pytest.approx(found, abs=1e-3)
    result = charnn("score", "-m", run, "--text", "The fox", "--adapt")
    assert (result.status, "--adapt goes on without dynamic evaluation" in result.err) == (0, True)
    (run / "train.bin").write_bytes(b"short")
    damaged = charnn("score", "-m", run, "--text", "a", "--adapt", "--no-dynamic")
    assert (damaged.status, damaged.err.count("\n")) == (1, 1)
    assert "train.bin: has 5 bytes" in damaged.err


@pytest.mark.parametrize(
    ("missing", "options", "message"),
    [
        ("valid.bin", ("--cache",), "but --cache is fitted on the held-out text"),
        ("valid.bin", ("--temperature", "fit"), "but --temperature fit is fitted on the held-out text"),
        ("train.bin", ("--dynamic",), "--dynamic needs gradients on the training text"),
    ],
)
def test_what_fitting_needs_is_named(charnn, run, missing, options, message):
    (run / missing).unlink()
    result = charnn("score", "-m", run, "--text", "a", *options)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert message in result.err


def test_minimal_pairs_have_an_accuracy(charnn, run):
    rows = ["good\tbad\tkind", "the fox\txqz zqx\teasy", "zzqqx\tthe hen\thard", "the fox\tthe fox\tsame"]
    Path("pairs.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    found = records(charnn("score", "-m", run, "--pairs", "pairs.tsv", "--format", "jsonl"))
    assert [(row["category"], row["value"], row["accuracy"], row["ties"]) for row in found] == [
        ("all", "", 0.5, 1),
        ("kind", "easy", 1.0, 0),
        ("kind", "hard", 0.0, 0),
        ("kind", "same", 0.5, 1),
    ]
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in found)
    table = charnn("score", "-m", run, "--pairs", "pairs.tsv").out
    assert "50.00%" in table
    each = records(charnn("score", "-m", run, "--pairs", "pairs.tsv", "--per-pair", "--format", "jsonl"))
    assert [row["verdict"] for row in each] == ["good", "bad", "tie"]
    (alone,) = records(charnn("score", "-m", run, "--text", "the fox", "--format", "jsonl"))
    assert each[0]["log_prob_good"] == pytest.approx(alone["log_prob"], abs=1e-5)
    assert each[0]["margin"] == pytest.approx(each[0]["log_prob_good"] - each[0]["log_prob_bad"])
    written = charnn("score", "-m", run, "--pairs", "pairs.tsv", "--format", "tsv", "-o", "out.tsv")
    assert written.out == ""
    assert (
        Path("out.tsv").read_text(encoding="utf-8").splitlines()[0].startswith("category\tvalue\tpairs\tties\taccuracy")
    )


def test_ways_to_go_on_are_compared_without_an_end(charnn, run):
    Path("pairs.tsv").write_text("prefix\tgood\tbad\nThe fox\twas\twere\n", encoding="utf-8")
    (row,) = records(charnn("score", "-m", run, "--pairs", "pairs.tsv", "--per-pair", "--format", "jsonl"))
    (alone,) = records(charnn("score", "-m", run, "--text", "The fox was", "--no-eos", "--format", "jsonl"))
    assert row["log_prob_good"] == pytest.approx(alone["log_prob"], abs=1e-5)
    assert row["good"] == "The fox was"


def test_lists_of_hypotheses_are_rescored(charnn, run):
    Path("nbest.tsv").write_text("u1\t-3.5\tthe fox\nu1\t-3.4\txqz\nu2\t-1\thow now\n", encoding="utf-8")
    rescored = charnn("score", "-m", run, "--nbest", "nbest.tsv", "--log-base", "10").out.splitlines()
    assert [line.rsplit("\t", 1)[0] for line in rescored] == ["u1\t-3.5\tthe fox", "u1\t-3.4\txqz", "u2\t-1\thow now"]
    (alone,) = records(charnn("score", "-m", run, "--text", "the fox", "--log-base", "10", "--format", "jsonl"))
    log_prob = float(rescored[0].rsplit("\t", 1)[1])
    assert log_prob == pytest.approx(alone["log_prob"], abs=1e-5)
    best = charnn(
        "score", "-m", run, "--nbest", "nbest.tsv", "--log-base", "10", "--lm-scale", 2, "--word-penalty", 5
    ).out
    id, total, text = best.splitlines()[0].split("\t")
    assert (id, text) == ("u1", "the fox")
    assert float(total) == pytest.approx(-3.5 + 2 * log_prob + 10, abs=1e-4)
    without = charnn("score", "-m", run, "--nbest", "nbest.tsv", "--lm-scale", 0).out.splitlines()
    assert without == ["u1\t-3.4\txqz", "u2\t-1\thow now"]
    jsonl = records(charnn("score", "-m", run, "--nbest", "nbest.tsv", "--format", "jsonl"))
    assert [row["score"] for row in jsonl] == [-3.5, -3.4, -1.0]
    Path("empty.tsv").write_text("", encoding="utf-8")
    assert "empty.tsv: is empty" in charnn("score", "-m", run, "--nbest", "empty.tsv").err


def test_two_models_are_compared(charnn, run, other_run):
    Path("held_out.txt").write_text(FABLES.read_text(encoding="utf-8")[12_000:16_000], encoding="utf-8")
    shown = charnn("compare", other_run, run, "held_out.txt")
    assert shown.status == 0, shown.err
    assert f"{run} is better by" in shown.out
    assert f"tokens on which {run} gains most" in shown.out
    found = json.loads(charnn("compare", other_run, run, "held_out.txt", "--format", "json").out)
    assert found["differ"]
    assert found["low"] <= found["bits_per_char_difference"] <= found["high"] < 0
    itself = charnn("compare", run, run, "held_out.txt")
    assert "the difference is not significant" in itself.out
    assert "gains most" not in itself.out
    charnn("score", "-m", run, "held_out.txt", "--summary", "s.json")
    facts = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert found["models"][1]["nats"] == pytest.approx(facts["nats"], abs=1e-2)


def test_models_with_different_vocabularies_are_compared_by_characters(charnn, run, line_run):
    Path("few.txt").write_text("ab\nabb \u2603\n", encoding="utf-8")
    result = charnn("compare", run, line_run, "few.txt")
    assert "have different vocabularies: compare their bits per character, not their perplexities" in result.err
    assert "--spell corrects this" in result.err
    assert "perplexity" not in result.out
    assert "2 lines: too few for a significance test" in result.out
    assert "--spell corrects this" not in charnn("compare", run, line_run, "few.txt", "--spell").err
    Path("empty.txt").write_text("", encoding="utf-8")
    assert "there is nothing to compare on" in charnn("compare", run, line_run, "empty.txt").err


CONTRADICTIONS = [
    ({"state": "carry", "unit": "stream"}, "--state: has no effect without --unit line, document or tune"),
    ({"eos": False, "unit": "stream"}, "--no-eos: has no effect without"),
    ({"temperature": "warm"}, "--temperature: found 'warm'"),
    ({"temperature": "0"}, "--temperature: found '0'"),
    ({"exclude_unk": True, "spell": True}, "--exclude-unk: cannot be combined with --spell"),
    ({"unk_penalty": -1.0, "spell": True}, "--unk-penalty: cannot be combined with --spell"),
    ({"unk_penalty": 1.0}, "--unk-penalty: found 1"),
    ({"cache_weight": 0.1}, "--cache-weight: has no effect without --cache"),
    ({"cache_size": 10}, "--cache-size: has no effect without --cache"),
    ({"dynamic_rate": 0.1}, "--dynamic-rate: has no effect without --dynamic"),
    ({"adapt": True, "dynamic": False, "dynamic_rate": 0.1}, "--dynamic-rate: has no effect without --dynamic"),
    ({"adapt": True, "cache": True, "dynamic_rate": 0.1}, "--dynamic-rate: has no effect without --dynamic"),
    ({"adapt": True, "mix_ngram": True}, "--adapt: cannot be combined with --mix-ngram"),
    ({"adapt": True, "fit_weights": "x"}, "--adapt: cannot be combined with --fit-weights"),
    ({"adapt": True, "device": "cuda"}, "--device cuda: cannot be combined with --adapt"),
    ({"adapt": True, "direction": "both"}, "--adapt: cannot be combined with --direction both"),
    ({"adapt": True, "pairs": "x"}, "--adapt: cannot be combined with --pairs"),
    ({"adapt": True, "rollout": 5, "unit": "stream"}, "--adapt: cannot be combined with --rollout"),
    ({"adapt": True, "label_from": "file"}, "--adapt: cannot be combined with --label-from"),
    ({"cache": True, "dynamic": True}, "--cache: cannot be combined with --dynamic"),
    ({"cache": True, "fit_weights": "x"}, "--cache: cannot be combined with --fit-weights"),
    ({"device": "cuda", "dynamic": True}, "--device cuda: cannot be combined with --dynamic"),
    ({"format": "srilm", "log_base": "2"}, "--log-base 2: cannot be combined with --format srilm"),
    ({"format": "kenlm", "unit": "document"}, "--unit document: cannot be combined with --format kenlm"),
    ({"format": "kenlm", "eos": False}, "--no-eos: cannot be combined with --format kenlm"),
    ({"format": "srilm", "by_word": True}, "--by-word: cannot be combined with --format srilm"),
    ({"format": "lmzoo", "per_token": True}, "--per-token: cannot be combined with --format lmzoo"),
    ({"per_token": True, "by_word": True}, "--by-word: cannot be combined with --per-token"),
    ({"alternatives": 3}, "--alternatives: has no effect without --per-token"),
    ({"spaces": "after"}, "--spaces: has no effect without --by-word"),
    ({"per_pair": True}, "--per-pair: has no effect without --pairs"),
    ({"lm_scale": 1.0}, "--lm-scale: has no effect without --nbest"),
    ({"nbest": "x", "word_penalty": 1.0}, "--word-penalty: has no effect without --lm-scale"),
    ({"pairs": "x", "nbest": "y"}, "--pairs: cannot be combined with --nbest"),
    ({"pairs": "x", "cache": True}, "--cache: cannot be combined with --pairs"),
    ({"nbest": "x", "format": "srilm"}, "--format srilm: cannot be combined with --nbest"),
    ({"direction": "both", "cache": True}, "--cache: cannot be combined with --direction both"),
    ({"rollout": 5, "unit": "stream", "spell": True}, "--spell: cannot be combined with --rollout"),
    ({"weight": (1.0, -1.0)}, "-w: found -1"),
]


@pytest.mark.parametrize(("options", "message"), CONTRADICTIONS, ids=lambda value: str(value)[:40])
def test_options_that_contradict_each_other_or_do_nothing_are_refused(options, message):
    with pytest.raises(OptionError) as error:
        ScoreOptions(**options)
    assert str(error.value).startswith(message)


def test_a_subword_model_cannot_let_spaces_count_with_the_word_before(charnn, tmp_path):
    text = "the cat sat\nthe dog ran\nthe cow ate hay\n" * 9
    run = train_quietly(
        tmp_path, text, "--tokenizer", "subword", "--vocab-size", 30, "--steps", 2, "--bptt", 8, "--batch-size", 2
    )
    result = charnn("score", "-m", run, "--text", "the cat", "--by-word", "--spaces", "after")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "--spaces after: found a subword model" in result.err
    assert charnn("score", "-m", run, "--text", "the cat", "--by-word").status == 0


def test_a_terminal_shows_tokens_in_the_colors_of_their_surprisal(run):
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": ""}
    environment.pop("NO_COLOR")
    command = [sys.executable, "-m", "charnn", "score", "-m", str(run), "--text", "The fox \u2603"]
    primary, secondary = pty.openpty()
    process = subprocess.Popen(command, stdout=secondary, stderr=subprocess.DEVNULL, env=environment)
    os.close(secondary)
    shown = b""
    while True:
        try:
            part = os.read(primary, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    text = shown.decode()
    assert "\x1b[38;5;160m\u2603" in text
    assert "\x1b[38;5;28m" in text or "\x1b[38;5;64m" in text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=30),
    options=st.sampled_from(
        [
            (),
            ("--spell",),
            ("--spell", "--mix-ngram", "--no-eos"),
            ("--exclude-unk", "--no-bos"),
            ("--unk-penalty", "-5", "--log-base", "2"),
            ("--per-token", "--alternatives", "2"),
            ("--by-word", "--spaces", "after", "--spell"),
            ("--cache", "--cache-weight", "0.3", "--cache-sharpness", "0.5"),
            ("--unit", "document", "--state", "carry"),
            ("--temperature", "3"),
        ]
    ),
    form=st.sampled_from(["table", "tsv", "jsonl", "kenlm", "srilm", "lmzoo", "neural-complexity"]),
)
def test_any_text_has_a_score_or_one_clear_line(charnn, run, text, options, form):
    result = charnn("score", "-m", run, *options, "--format", form, f"--text={text}")
    assert result.status in (0, 1, 2)
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    if result.status:
        assert result.err.count("\n") == 1
    elif form == "jsonl":
        (record,) = (json.loads(line) for line in result.out.splitlines())
        assert math.isfinite(record["log_prob"])


def test_copies_of_a_model_need_only_its_first_three_files(charnn, run, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        shutil.copy(run / name, bare / name)
    assert charnn("score", "-m", bare, "--text", "The fox \u2603", "--spell").status == 0


def test_memory_that_is_carried_has_each_lines_last_token_whether_its_end_is_scored_or_not(charnn, run):
    texts = [part for text in ("The cat sat on the mat", "", "and the dog") for part in ("--text", text)]
    arguments = ("score", "-m", run, *texts, "--state", "carry", "--per-token", "--format", "jsonl")
    closed, open_ = records(charnn(*arguments)), records(charnn(*arguments, "--no-eos"))
    for one, other in zip(closed, open_, strict=True):
        assert len(one["tokens"]) == len(other["tokens"]) + 1
        expected = [token["log_prob"] for token in one["tokens"][:-1]]
        assert [token["log_prob"] for token in other["tokens"]] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("flag", ["--output", "--summary"])
def test_nothing_that_is_read_or_written_otherwise_is_overwritten(charnn, run, lines_file, flag):
    before = lines_file.read_bytes()
    refused = [
        ((lines_file, flag, lines_file), "which the command reads from"),
        ((lines_file, flag, run / "config.json"), "which belongs to a model"),
        ((lines_file, flag, "out.tsv.gz"), "name it without .gz"),
        ((lines_file, flag, "nowhere/x"), "there is no directory"),
        ((lines_file, "--output", "same", "--summary", "same"), "which --output writes to as well"),
    ]
    for arguments, message in refused:
        result = charnn("score", "-m", run, *arguments)
        assert result.err.count("\n") == 1
        assert message in result.err
        assert result.status
    assert lines_file.read_bytes() == before
    Path("nbest.tsv").write_text("u\t1\ta\n", encoding="utf-8")
    assert "reads from" in charnn("score", "-m", run, "--nbest", "nbest.tsv", "-o", "nbest.tsv").err


def test_a_dash_is_standard_output(charnn, run):
    plain = charnn("score", "-m", run, "--text", "a", "--format", "tsv")
    assert charnn("score", "-m", run, "--text", "a", "--format", "tsv", "-o", "-").out == plain.out
    assert charnn("score", "-m", run, "--text", "a", "--format", "tsv", "-o", "/dev/stdout").out == plain.out
    facts = json.loads(charnn("score", "-m", run, "--text", "a", "-o", "x", "--summary", "-", "--no-bos").out)
    assert facts["models"] == [str(run)]
    assert facts["options"] == {"bos": False}
    assert not Path("-").exists()


def test_columns_are_read_back_by_a_reader_of_csv(charnn, run):
    texts = ['"Hello," she said', 'a "b', "plain", '"']
    given = [part for text in texts for part in ("--text", text)]
    rows = list(csv.reader(charnn("score", "-m", run, *given, "--format", "tsv").out.splitlines(), delimiter="\t"))
    assert [row[-1] for row in rows[1:]] == texts


def test_encoded_text_that_is_damaged_is_refused(charnn, run):
    content = (run / "valid.bin").read_bytes()
    for damaged in (content[:50], content + b"\xff"):
        (run / "valid.bin").write_bytes(damaged)
        result = charnn("score", "-m", run, "--text", "a", "--temperature", "fit")
        assert (result.status, result.err.count("\n")) == (1, 1)
        assert "when the model was trained; restore the file" in result.err


def test_what_a_model_has_no_use_for_is_refused(charnn, tmp_path):
    run = train_quietly(
        tmp_path,
        "abc\n" * 60,
        "--tokenizer",
        "byte",
        "--steps",
        2,
        "--bptt",
        8,
        "--batch-size",
        2,
        "--direction",
        "both",
    )
    for options in (("--exclude-unk",), ("--unk-penalty", -1)):
        assert "which has no unknown tokens" in charnn("score", "-m", run, "--text", "a", *options).err
    for form in ("kenlm", "srilm", "neural-complexity"):
        for direction in ("backward", "both"):
            result = charnn("score", "-m", run, "--text", "a", "--format", form, "--direction", direction)
            assert (result.status, result.err.count("\n")) == (2, 1)
    assert charnn("score", "-m", run, "--text", "a", "--format", "lmzoo", "--direction", "backward").status == 0
    assert (
        "--text: found 2 texts with --unit stream"
        in charnn("score", "-m", run, "--text", "a", "--text", "b", "--unit", "stream").err
    )


def test_models_of_bytes_and_of_characters_are_compared_on_the_same_text(charnn, run, tmp_path):
    (tmp_path / "bytes").mkdir()
    of_bytes = train_quietly(
        tmp_path / "bytes", "the cat\n" * 60, "--tokenizer", "byte", "--steps", 2, "--bptt", 8, "--batch-size", 2
    )
    Path("crlf.txt").write_bytes(b"\xef\xbb\xbfthe cat\r\nthe caf\xc3\xa9\r\n" * 20)
    found = json.loads(charnn("compare", run, of_bytes, "crlf.txt", "--format", "json").out)
    first, second = found["models"]
    assert first["num_chars"] == second["num_chars"]
    assert found["bits_per_char_difference"] == pytest.approx(second["bits_per_char"] - first["bits_per_char"])
    text = Path("crlf.txt").read_bytes()
    command = [sys.executable, "-m", "charnn", "compare", str(run), str(of_bytes), "-", "--format", "json"]
    piped = subprocess.run(command, input=text, capture_output=True, check=True)
    assert json.loads(piped.stdout)["models"][1]["nats"] == pytest.approx(second["nats"], abs=1e-3)


def test_tokens_that_are_left_out_have_no_figure(charnn, run):
    (record,) = records(
        charnn("score", "-m", run, "--text", "a\u2603b", "--exclude-unk", "--per-token", "--format", "jsonl")
    )
    assert [token["log_prob"] is None for token in record["tokens"]] == [False, True, False, False]
    assert sum(token["log_prob"] or 0 for token in record["tokens"]) == pytest.approx(record["log_prob"], abs=1e-5)
    nothing = charnn("score", "-m", run, "--text", "\u2603", "--exclude-unk", "--no-eos")
    assert "no token was scored" in nothing.err


def test_totals_say_whether_unknown_tokens_are_included(charnn, run):
    text = ("score", "-m", run, "--text", "a\u2603b")
    with_them = charnn(*text, "--summary", "s.json").out
    assert "(1 unknown)" in with_them
    assert "including unknown tokens, " in with_them
    assert "excluded" not in with_them
    assert json.loads(Path("s.json").read_text(encoding="utf-8"))["num_excluded"] == 0
    table = charnn(*text, "--exclude-unk", "--summary", "s.json").out
    facts = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert facts["num_excluded"] == facts["num_unknown"] == 1
    shown = f"perplexity {facts['perplexity']:.4f} excluding unknown tokens (--exclude-unk)"
    for totals in (
        table,
        *(charnn(*text, "--exclude-unk", "--format", form).err for form in ("tsv", "jsonl")),
        charnn(*text, "--exclude-unk", "--per-token").out,
    ):
        assert shown in totals
        assert "3 tokens (1 unknown, excluded), 3 characters" in totals
        assert "including" not in totals
    assert table.startswith("log probabilities: natural logarithm (nats), unknown tokens excluded\n")
    assert "excluded" in table.splitlines()[1]
    (record,) = records(charnn(*text, "--exclude-unk", "--format", "jsonl"))
    assert record["num_excluded"] == 1


def test_a_category_may_not_be_called_like_a_figure(charnn, run):
    Path("pairs.tsv").write_text("good\tbad\tmargin\na\tb\tx\n", encoding="utf-8")
    assert "found a category margin" in charnn("score", "-m", run, "--pairs", "pairs.tsv", "--per-pair").err
    assert charnn("score", "-m", run, "--pairs", "pairs.tsv").status == 0


def test_a_long_running_text_is_not_kept(charnn, run, monkeypatch):
    monkeypatch.setattr("charnn.cli.output.score_output.MOST_SHOWN", 20)
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 8)
    for text, shown in (("The fox\nran.\n", "The fox\\nran.\\n"), ("The fox\nran.\n" * 5, "")):
        Path("text.txt").write_text(text, encoding="utf-8")
        _, row = charnn("score", "-m", run, "text.txt", "--unit", "stream", "--format", "tsv").out.splitlines()
        assert row.split("\t")[-1] == shown
        assert row.split("\t")[3] == str(len(text))


def test_a_sentence_without_text_is_told_from_a_file(charnn, run):
    result = charnn("score", "the", "cat", "-m", run)
    assert result.status == 1
    assert result.err.endswith("check the spelling, or pass a sentence with --text\n")
