"""What makes figures doubtful is said in one line, and ordinary texts have none."""

import json
from pathlib import Path

import pytest

from charnn.scoring import preflight
from charnn.storage.model_directory import read_model, write_model
from tests.conftest import FABLES, train_quietly

SMALL = ("--hidden-size", 8, "--embedding-size", 4, "--embedding-order", 1, "--precision", "fp32", "--batch-size", 4)
UNSEEN = "do not measure performance on unseen text"
FABLE = FABLES.read_text(encoding="utf-8")


def trained(charnn, *arguments):
    result = charnn("train", *arguments, "--steps", 2, "--bptt", 16, "--ngram-order", 2, *SMALL, "-o", "m")
    assert result.status == 0, result.err
    return result.err


def lines_with(part, text):
    return [line for line in text.splitlines() if part in line]


def test_a_good_text_has_no_doubts(charnn, run):
    said = trained(charnn, FABLES).splitlines()
    beginnings = (
        "reading",
        f"{FABLES} -> m",
        "lstm",
        "timed",
        "auto",
        "baseline",
        "   ",
        "m: trained",
        "2-gram",
        "sample",
    )
    assert [line for line in said if not line.removeprefix("charnn: ").startswith(beginnings)] == []
    assert charnn("score", "-m", run, FABLES).err == ""
    assert charnn("compare", run, run, FABLES).err == ""
    assert charnn("score", "-m", run, "--text", "a").err == ""


def test_many_unknown_tokens_are_said_before_the_figures(charnn, run):
    Path("chinese.txt").write_text("".join(chr(0x4E00 + number * 7 % 2000) + "\u3002" for number in range(2000)))
    said = trained(charnn, "chinese.txt", "--tokenizer", "word")
    (doubt,) = lines_with("unknown: bits per character count", said)
    assert "of the held-out text are unknown" in doubt
    assert said.index(doubt) < said.index("lstm")
    Path("other.txt").write_text("\u4e00\u4e8c\n" * 30, encoding="utf-8")
    for form in ("table", "jsonl"):
        scored = charnn("score", "-m", run, "other.txt", "--format", form)
        assert len(lines_with("67% of the tokens of this text are unknown: bits per character", scored.err)) == 1
    assert "are unknown" not in charnn("score", "-m", run, "other.txt", "--spell").err
    assert (
        "are excluded: the figures are of the others only"
        in charnn("score", "-m", run, "other.txt", "--exclude-unk").err
    )
    assert len(lines_with("of this text (tokenized by ", charnn("compare", run, run, "other.txt").err)) == 2


def test_validation_text_that_is_training_text_is_said(charnn):
    Path("text.txt").write_text(FABLE[:4000], encoding="utf-8")
    Path("copy.txt").write_text(FABLE[:4000], encoding="utf-8")
    Path("part.txt").write_text(FABLE[1000:2000], encoding="utf-8")
    Path("other.txt").write_text(FABLE[5000:7000], encoding="utf-8")
    doubts = {
        "text.txt": "text.txt: is also a training text: the validation loss does not measure performance",
        "copy.txt": "copy.txt: has the content of text.txt, a training text: the validation loss",
        "part.txt": "part.txt: 100% of its spans of 32 tokens are in the training text, too (measured on 31): the validation",
        "other.txt": None,
    }
    for valid, doubt in doubts.items():
        said = lines_with(
            "not measure performance on unseen text", trained(charnn, "text.txt", "--valid", valid, "--overwrite")
        )
        assert len(said) == (doubt is not None)
        assert doubt is None or doubt in said[0]
    Path("twice.txt").write_text(FABLE[:2000] * 2, encoding="utf-8")
    assert "charnn: the held-out text: " in trained(charnn, "twice.txt", "--overwrite")


def test_a_models_own_training_text_is_recognized(charnn, run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    text = Path(config["corpus"]["files"][0]["name"]).read_text(encoding="utf-8")
    Path("copy.txt").write_text(text, encoding="utf-8")
    Path("same_size.txt").write_text(text[::-1], encoding="utf-8")
    expected = f"charnn: copy.txt: {run} was trained (or its weights were selected) on this text: the scores {UNSEEN}\n"
    assert charnn("score", "-m", run, "copy.txt", "--summary", "-").err.startswith(expected)
    assert charnn("compare", run, run, "copy.txt").err == expected
    assert UNSEEN not in charnn("score", "-m", run, "same_size.txt").err
    Path("d").mkdir()
    for number in range(2):
        Path(f"d/{number}.txt").write_text(text, encoding="utf-8")
    said = charnn("score", "-m", run, "d").err
    assert said.startswith("charnn: d: reading 2 files\ncharnn: d/0.txt and 1 other: ")
    config["corpus"]["files"][0]["of_bytes"] = len(text) + 5  # only a beginning was read
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    Path("longer.txt").write_text(text + "more\n", encoding="utf-8")
    assert UNSEEN in charnn("score", "-m", run, "longer.txt").err
    assert UNSEEN not in charnn("score", "-m", run, "copy.txt").err


def test_a_separate_validation_text_may_be_scored(charnn):
    Path("text.txt").write_text(FABLE[:4000], encoding="utf-8")
    Path("valid.txt").write_text(FABLE[5000:7000], encoding="utf-8")
    trained(charnn, "text.txt", "--valid", "valid.txt")
    assert UNSEEN not in charnn("score", "-m", "m", "valid.txt").err
    assert UNSEEN in charnn("score", "-m", "m", "text.txt").err


def test_a_line_of_pages_is_no_line(charnn, line_run, run):
    Path("text.txt").write_text("ab\nabb\n" * 300 + "ab" * 10_000 + "\n" + "ab" * 9000 + "\n", encoding="utf-8")
    said = trained(charnn, "text.txt", "--unit", "line")
    assert (
        len(lines_with("text.txt: the longest line has 20,000 characters, which is too long for a sentence", said)) == 1
    )
    assert "too long for a sentence" not in trained(charnn, "text.txt", "--overwrite")
    scored = charnn("score", "-m", line_run, "text.txt", "--format", "jsonl", "-o", "s.jsonl")
    assert (
        len(lines_with("text.txt: line 601 has 20,000 characters, which is too long for a sentence", scored.err)) == 1
    )
    assert len(lines_with("too long for a sentence", scored.err)) == 1
    assert "too long for a sentence" not in charnn("score", "-m", run, "text.txt").err


@pytest.mark.parametrize(
    ("options", "doubt"),
    [
        ((), "text.txt: line 3: scoring 4,000 characters in one record needs about "),
        (("--per-token",), "text.txt: line 2: scoring 2,500 characters in one record"),
        (("--per-token", "--alternatives", 100), "text.txt: line 1: scoring 100 characters in one record"),
        (("--format", "srilm"), "text.txt: line 2: scoring 2,500 characters in one record"),
        (("--unit", "stream", "--per-token"), None),
        (("--unit", "stream", "--per-token", "--format", "jsonl"), "text.txt: scoring 2,602 characters in one record"),
    ],
)
def test_units_that_need_much_memory_are_said_before_they_are_scored(charnn, run, monkeypatch, options, doubt):
    monkeypatch.setattr(preflight, "MUCH_MEMORY_BYTES", 150_000)
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 64)
    Path("text.txt").write_text("a" * 100 + "\n" + "b" * 2500 + "\n" + "c" * 4000 + "\n", encoding="utf-8")
    said = lines_with(" of memory", charnn("score", "-m", run, "text.txt", *options).err)
    assert len(said) == (doubt is not None)
    if doubt is not None:
        assert said[0].startswith(f"charnn: {doubt}")
        assert said[0].endswith("; divide it" if "srilm" in options else "with --format table or tsv")


@pytest.mark.parametrize("command", ["score --text ab -m", "sample -n 2 --seed 1 -m", "predict a -m", "compare other"])
def test_a_model_without_a_step_is_said(charnn, run, line_run, command):
    run.rename("other")
    model = read_model(line_run)
    model.config.results.steps = 0
    write_model(line_run, model.config, model.weights, generation=0)
    Path("text.txt").write_text("ab\n", encoding="utf-8")
    result = charnn(*command.split(), line_run, *(["text.txt"] if "compare" in command else []))
    assert result.status == 0, result.err
    assert (
        len(lines_with(f"{line_run}: is untrained (0 steps): its probabilities are those of random", result.err)) == 1
    )


def test_white_space_is_nothing_to_validate_on(charnn, run):
    Path("text.txt").write_text(FABLE[:2000] + "\n" * 400, encoding="utf-8")
    said = trained(charnn, "text.txt")
    assert (
        "text.txt: the held-out text is only white space (240 characters), so the validation loss is meaningless"
        in said
    )
    Path("blank.txt").write_text(" \n\n", encoding="utf-8")
    refused = charnn("train", "text.txt", "--valid", "blank.txt", "--steps", 1, "-o", "n")
    assert refused.status == 1
    assert (
        "blank.txt: contains only white space to validate on; name another --valid file or leave it out" in refused.err
    )
    assert not Path("n").exists()
    scored = charnn("score", "-m", run, "blank.txt")
    assert "blank.txt: contains only white space: its scores are meaningless" in scored.err


def test_very_little_text_is_said(charnn):
    Path("text.txt").write_text("nine char", encoding="utf-8")
    said = trained(charnn, "text.txt")
    assert len(lines_with("text.txt: 9 characters are too little to learn from or to hold out; thousands", said)) == 1
    Path("text.txt").write_text(FABLE[:2000], encoding="utf-8")
    assert "too little" not in trained(charnn, "text.txt", "--overwrite")
    said = trained(charnn, "text.txt", "--overwrite", "--valid-fraction", 0.04)
    assert "the held-out text has only 80 tokens: the validation loss is uncertain" in said


def test_lines_and_files_are_counted(charnn):
    Path("d").mkdir()
    for number in range(5):
        Path(f"d/{number}.txt").write_text("the cat\nthe dog\n" * 60, encoding="utf-8")
    Path("d/picture").write_bytes(b"\0\1\2")
    said = trained(charnn, "d", "--unit", "line")
    assert said.count("d: reading 5 files; skipped 1 that is not text (d/picture)") == 1
    assert "d/0.txt, d/1.txt, d/2.txt and 2 others -> m: " in said
    assert " training tokens (540 lines), " in said
    assert " held out (60 lines), vocabulary of" in said


def test_damage_that_scoring_does_without_does_not_stop_it(charnn, tmp_path):
    (tmp_path / "n").mkdir()
    run = train_quietly(tmp_path / "n", FABLE[:3000], "--steps", 1, "--embedding-order", 1)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    del config["corpus"]["train"]
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert charnn("score", "-m", run, FABLES).status == 0
