"""`charnn sample` and `charnn fill` through their entry point: prompts, results, novelty, and by hand."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charnn.storage.checkpoint import packed_tensors, read_tensors
from tests.conftest import train_quietly


def records(result):
    assert result.status == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_a_prompt_from_standard_input(charnn, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"The heron\n")))
    piped = charnn("sample", "-", "-m", run, "-n", 20, "--seed", 1)
    assert piped.out == charnn("sample", "The heron", "-m", run, "-n", 20, "--seed", 1).out


def test_each_line_of_a_file_is_a_prompt_with_a_seed_of_its_own(charnn, run, tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("The fox\n\nThe heron", encoding="utf-8")
    options = ("-m", run, "-n", 20, "--format", "jsonl")
    found = records(charnn("sample", "--prompts", "prompts.txt", "--num-samples", 2, "--seed", 5, *options))
    assert [record["prompt"] for record in found] == ["The fox", "The fox", "", "", "The heron", "The heron"]
    assert [record["seed"] for record in found] == [5, 6, 7, 8, 9, 10]
    for record in found:
        (alone,) = records(charnn("sample", record["prompt"], "--seed", record["seed"], *options))
        assert {**alone, "log_prob": 0, "perplexity": 0} == {**record, "log_prob": 0, "perplexity": 0}
        assert alone["log_prob"] == pytest.approx(record["log_prob"], abs=1e-4)
    monkeypatch.setattr("charnn.cli.output.console.is_terminal", lambda: True)
    text = charnn("sample", "--prompts", "prompts.txt", "--seed", 5, "-m", run, "-n", 5).out
    assert text.startswith("=== prompt 1, sample 1, seed 5 ===\nThe fox")
    assert "=== prompt 3, sample 1, seed 7 ===\nThe heron" in text


@pytest.mark.parametrize(
    "source", [("The", "--num-samples", "3"), ("--prompts", "prompts.txt")], ids=["samples", "prompts"]
)
def test_a_file_and_a_pipe_get_texts_with_an_empty_line_between_them_and_no_headings(charnn, run, source):
    Path("prompts.txt").write_text("The fox\nThe cat\nThe heron\n", encoding="utf-8")
    options = ("-m", run, "-n", 9, "--seed", 5)
    found = records(charnn("sample", *source, *options, "--format", "jsonl"))
    wanted = "\n\n".join((record["prompt"] + record["text"]).removesuffix("\n") for record in found) + "\n"
    assert charnn("sample", *source, *options).out == wanted
    assert charnn("sample", *source, *options, "-o", "out.txt").out == ""
    assert Path("out.txt").read_text(encoding="utf-8") == wanted
    reported = charnn("sample", *source, *options, "--novelty").out
    assert reported.count("=== ") == 3


def test_what_is_wrong_with_a_prompt_is_said_before_anything_is_written(charnn, run, tmp_path):
    (tmp_path / "prompts.txt").write_text("The fox\nThe ☃\n", encoding="utf-8")
    result = charnn("sample", "--prompts", "prompts.txt", "-m", run, "-n", 5)
    assert (result.status, result.out) == (1, "")
    assert "prompts.txt:2: character '☃' (U+2603) at position 5 is not in the model's vocabulary" in result.err
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    assert "empty.txt: contains no line" in charnn("sample", "--prompts", "empty.txt", "-m", run).err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("x", "--prompts", "f"), "--prompts: cannot be combined with a PROMPT"),
        (("--prompts", "f", "--prompt-file", "g"), "--prompts: cannot be combined with --prompt-file"),
        (("--prompts", "f", "--save-state", "g"), "--save-state: cannot be combined with --prompts"),
        (("-n", "0"), "--length: found 0, but it must be at least 1, or -1 for no limit; 0 requires --save-state"),
        (("-n", "-2"), "--length: found -2, but it must be at least -1"),
        (("--until", "unit"), "--until unit: found"),
        (("--beam", "4", "-t", "0.5"), "--temperature: cannot be combined with --beam"),
        (("--beam", "4", "--seed", "1"), "--seed: cannot be combined with --beam"),
        (("--beam", "4", "-n", "-1"), "--length -1: cannot be combined with --beam"),
        (("--beam", "4", "--num-samples", "5"), "--num-samples: found 5, but --beam 4 has fewer hypotheses"),
        (("--beam", "4", "--beam-groups", "3"), "--beam-groups: found 3 for 4 hypotheses"),
        (("--beam", "4", "--beam-groups", "2"), "--beam-groups: found 2 for --num-samples 1"),
        (("--greedy", "-t", "0.5"), "--temperature"),
        (("--greedy", "--seed", "5"), "--seed: has no effect without sampling by temperature"),
        (("-t", "0", "--seed", "5"), "--seed: has no effect without sampling by temperature"),
        (("--greedy", "--num-samples", "2"), "--num-samples: has no effect without sampling by temperature"),
        (("--ban-token", "<unk>"), "--ban-token: found '<unk>', which is never written anyway; leave it out"),
        (("--prompts", "."), ".: is a directory; name a file"),
        (("--load-state", "."), ".: is a directory; name a file that --save-state wrote"),
        (("--save-state", "nowhere/f"), "nowhere/f: cannot be written: there is no directory"),
        (("-t", "inf"), "--temperature: found inf, but it must be at least 0 and at most 10000"),
        (("--presence-penalty", "nan"), "--presence-penalty: found nan"),
        (("-n", "0", "--save-state", "f", "-o", "g"), "--output: cannot be combined with --length 0"),
        (("-o", "nowhere/out.txt"), "nowhere/out.txt: cannot be written: there is no directory"),
        (("-o", "."), ".: is a directory"),
        (("--interactive", "-n", "5"), "--length: cannot be combined with --interactive"),
        (("-", "--interactive"), "a prompt from standard input: cannot be combined with --interactive"),
        (("--diversity", "1"), "--diversity: has no effect without --beam"),
        (("--length-penalty", "1"), "--length-penalty: has no effect without --beam"),
        (("--greedy", "--top-p", "0.5"), "--top-p: cannot be combined with --greedy, which draws nothing"),
        (("--beam", "2", "--min-p", "0.5"), "--min-p: cannot be combined with --beam, which draws nothing"),
        (("--penalty-window", "5"), "--penalty-window: has no effect without a repetition penalty"),
        (("-n", "-1", "--final-temperature", "0.5"), "--final-temperature: has no effect without a limit (-n)"),
        (("--match", "("), "--match: found '(', which is no regular expression"),
        (("--allow", ""), "--allow: found an empty text"),
        (("--stop", ""), "--stop: found an empty text"),
        (("--interactive", "--num-samples", "2"), "--num-samples: cannot be combined with --interactive"),
        (("--interactive", "-o", "f"), "--output: cannot be combined with --interactive"),
        (("--load-state", "none"), "none: no such file"),
        (("--repetition-penalty", "0.5"), "--repetition-penalty: found 0.5, but it must be at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_contradictions_are_said_in_one_line(charnn, run, options, message):
    result = charnn("sample", "-m", run, *options)
    assert result.status in (1, 2)
    assert len(result.err.splitlines()) == 1
    assert message in result.err


def test_a_file_gets_what_the_terminal_would(charnn, run):
    options = ("sample", "The", "-m", run, "-n", 30, "--seed", 2)
    for more in ((), ("--num-samples", 2), ("--format", "jsonl"), ("--show-alternatives", 2)):
        shown = charnn(*options, *more)
        kept = charnn(*options, *more, "-o", "out.txt")
        assert kept.out == ""
        assert Path("out.txt").read_text(encoding="utf-8").split() == shown.out.split()


def test_a_text_that_a_full_disk_does_not_take_is_on_standard_output(charnn, run, monkeypatch):
    wanted = charnn("sample", "The", "-m", run, "-n", 30, "--seed", 2).out
    Path("out.txt").write_text("old", encoding="utf-8")

    def refuse(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("charnn.files._write_through", refuse)
    result = charnn("sample", "The", "-m", run, "-n", 30, "--seed", 2, "-o", "out.txt")
    assert (result.status, result.out) == (1, wanted)
    told, error = result.err.splitlines()
    assert told == "charnn: out.txt could not be written, so the text was written to standard output"
    assert "no space is left on the disk" in error
    assert Path("out.txt").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_the_names_of_standard_output_mean_that(charnn, run, name):
    shown = charnn("sample", "The", "-m", run, "-n", 30, "--seed", 2)
    assert charnn("sample", "The", "-m", run, "-n", 30, "--seed", 2, "-o", name).out == shown.out
    assert not Path("-").exists()


def test_a_record_says_all_there_is(charnn, run):
    (record,) = records(
        charnn("sample", "The", "-m", run, "-n", 6, "--seed", 2, "--format", "jsonl", "--show-alternatives", 3)
    )
    assert list(record) == ["prompt", "text", "seed", "ids", "log_prob", "log_base", "perplexity", "ended", "tokens"]
    assert record["perplexity"] == pytest.approx(np.exp(-record["log_prob"] / 6))
    assert sum(token["log_prob"] for token in record["tokens"]) == pytest.approx(record["log_prob"])
    assert "".join(token["token"] for token in record["tokens"]) == record["text"]
    for token in record["tokens"]:
        assert len(token["alternatives"]) == 3
        assert max(other["log_prob"] for other in token["alternatives"]) >= token["log_prob"]


def test_alternatives_fill_the_width_and_no_more(charnn, run):
    result = charnn("sample", "The", "-m", run, "-n", 40, "--seed", 2, "--show-alternatives", 2)
    explanation, prompt, *rows = result.out.splitlines()
    assert explanation.startswith("top row: selected tokens")
    assert prompt == "The"
    assert all(len(row) <= 120 for row in rows)
    assert len([row for row in rows if row]) % 3 == 0
    wanted = charnn("sample", "The", "-m", run, "-n", 40, "--seed", 2, "--no-echo").out
    drawn = "".join(cell.split()[0] for row in rows[::4] for cell in _cells(row))
    assert drawn == wanted.removesuffix("\n").replace(" ", "␣").replace("\n", "⏎")


def _cells(row):
    return [f"{one} {other}" for one, other in zip(row.split()[::2], row.split()[1::2], strict=True)]


def test_a_memory_is_kept_and_gone_on_from(charnn, run):
    kept = charnn("sample", "The heron wrote", "-m", run, "-n", 0, "--save-state", "memory")
    assert (kept.status, kept.out) == (0, "")
    assert "saved the hidden state after 15 tokens in memory; continue from it with --load-state memory" in kept.err
    whole = charnn("sample", "The heron wrote it", "-m", run, "-n", 30, "--seed", 1, "--no-repeat-ngram", 4).out
    rest = charnn(
        "sample", " it", "-m", run, "-n", 30, "--seed", 1, "--load-state", "memory", "--no-repeat-ngram", 4
    ).out
    assert "The heron wrote" + rest == whole
    nothing_more = charnn("sample", "-m", run, "-n", 30, "--seed", 1, "--load-state", "memory").out
    assert "The heron wrote" + nothing_more == charnn("sample", "The heron wrote", "-m", run, "-n", 30, "--seed", 1).out


def test_a_memory_of_another_model_or_none_is_refused(charnn, run, line_run):
    charnn("sample", "a", "-m", line_run, "-n", 0, "--save-state", "memory")
    assert "is the hidden state of another model" in charnn("sample", "-m", run, "--load-state", "memory").err
    shutil.copy(run / "model.safetensors", "weights")
    assert "weights: is not a saved hidden state" in charnn("sample", "-m", run, "--load-state", "weights").err
    Path("memory").write_bytes(b"\x80\x04a pickle of some length")
    assert "is a pickle" in charnn("sample", "-m", run, "--load-state", "memory").err


def test_a_memory_of_another_shape_is_refused(charnn, run):
    charnn("sample", "a", "-m", run, "-n", 0, "--save-state", "memory")
    tensors, header = read_tensors(Path("memory"))
    Path("memory").write_bytes(
        b"".join(packed_tensors({**tensors, "state.0.0": np.zeros((1, 3), dtype=np.float32)}, header))
    )
    result = charnn("sample", "-m", run, "--load-state", "memory")
    assert "memory: does not hold the state that this model has" in result.err


def test_a_beam_is_the_same_each_time_and_better_than_greed(charnn, run):
    options = ("sample", "The", "-m", run, "-n", 20, "--format", "jsonl")
    best, second = records(charnn(*options, "--beam", 8, "--num-samples", 2))
    assert best["log_prob"] >= second["log_prob"]
    assert best["seed"] is None
    (greedy,) = records(charnn(*options, "--greedy"))
    assert best["log_prob"] >= greedy["log_prob"] - 1e-4
    assert records(charnn(*options, "--beam", 8, "--num-samples", 2)) == [best, second]


def test_novelty_knows_a_copy_from_a_text_of_its_own(charnn, run):
    (record,) = records(charnn("sample", "-m", run, "-n", 200, "--seed", 1, "--novelty", "--format", "jsonl"))
    novelty = record["novelty"]
    assert not novelty["is_copied"]
    assert novelty["longest_copied"] < 40
    assert novelty["shares"][0] == 1.0
    shown = charnn("sample", "-m", run, "-n", 200, "--seed", 1, "--novelty").out
    assert f"the longest span copied from the training text is {novelty['longest_copied']} of 200 tokens" in shown
    assert "not copied more than usual for such text" in shown


def test_novelty_needs_the_text(charnn, run):
    (run / "train.bin").unlink()
    result = charnn("sample", "-m", run, "-n", 5, "--novelty")
    assert "train.bin: the encoded text to compare with is missing" in result.err
    assert len(result.err.splitlines()) == 1


def work_for(process, seconds):
    """Wait until a process has worked for some seconds, however busy the machine is."""
    stat = Path(f"/proc/{process.pid}/stat")
    if not stat.exists():
        time.sleep(seconds)
        return
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        ticks = stat.read_text().rpartition(")")[2].split()[11:13]
        if sum(map(int, ticks)) >= seconds * os.sysconf("SC_CLK_TCK"):
            return
        time.sleep(0.05)


def interrupted(run, *options, seconds=2.0, number=signal.SIGINT, endless=True):
    if sys.platform == "win32":
        pytest.skip("Windows sends no signal to another process")
    length = ("-n", "-1", "--seed", "1") if endless else ()
    command = [sys.executable, "-m", "charnn", "sample", "-m", str(run), *length, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        thread = threading.Thread(target=lambda: (work_for(process, seconds), process.send_signal(number)))
        thread.start()
        out, err = process.communicate(timeout=90)
        thread.join()
    finally:
        process.kill()
    return process.returncode, out, err


def test_ctrl_c_ends_an_endless_sample_with_what_there_is(run, charnn):
    status, out, err = interrupted(run, "--no-echo")
    assert (status, err) == (130, "")
    assert len(out) > 1000
    assert out.endswith("\n")
    begun = charnn("sample", "-m", run, "-n", 500, "--seed", 1, "--no-echo").out
    assert out.startswith(begun.removesuffix("\n"))


def test_ctrl_c_gives_several_samples_and_files_too(run):
    status, out, _ = interrupted(run, "--num-samples", "3", "--format", "jsonl")
    assert status == 130
    assert [json.loads(line)["ended"] for line in out.splitlines()] == ["interrupted"] * 3
    status, out, _ = interrupted(run, "-o", "kept.txt")
    assert (status, out) == (130, "")
    assert Path("kept.txt").stat().st_size > 1000


def test_termination_and_an_interrupted_beam_keep_what_there_is(run):
    status, out, _ = interrupted(run, "--num-samples", "2", "--format", "jsonl", number=signal.SIGTERM)
    assert status == 143
    assert [json.loads(line)["ended"] for line in out.splitlines()] == ["interrupted"] * 2
    Path("kept.txt").write_text("precious", encoding="utf-8")
    command = ("-n", "100000", "--beam", "3", "-o", "kept.txt")
    status, out, _ = interrupted(run, *command, endless=False)
    assert (status, out) == (130, "")
    assert len(Path("kept.txt").read_text(encoding="utf-8")) > 100


def test_a_text_cut_off_before_it_matched_is_said(charnn, run):
    result = charnn("sample", "The", "-m", run, "-n", 3, "--match", "[a-z ]{5}", "--format", "jsonl", "--seed", 1)
    assert records(result)[0]["matches"] is False
    assert "sample 1: ended (length) before the whole of it matched --match; increase -n" in result.err
    whole = charnn("sample", "The", "-m", run, "-n", 9, "--match", "[a-z ]{5}", "--format", "jsonl", "--seed", 1)
    assert records(whole)[0]["matches"] is True


def by_hand(charnn, run, monkeypatch, lines, *options):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in lines)))
    return charnn("sample", "The", "-m", run, "--interactive", "--seed", 3, *options)


def test_a_person_and_a_model_write_together(charnn, run, monkeypatch):
    result = by_hand(charnn, run, monkeypatch, ["1", "i  fox", "r 10", "u", "p", "t 0", "r 5", "x", "?", "q"])
    assert result.status == 0
    greedy = charnn("sample", result.out.removesuffix("\n")[:-5], "-m", run, "-n", 5, "--greedy", "--no-echo").out
    assert result.out.removesuffix("\n").endswith(greedy.removesuffix("\n")[:5])
    assert "removed 10 tokens" in result.err
    assert "temperature 0" in result.err
    assert result.out[4:].lstrip().startswith("fox") or " fox" in result.out


def test_a_model_learns_from_its_prompt_and_by_hand(charnn, run, monkeypatch):
    prompt = "The wolgle met Flibbet. " * 12 + "The wolgle met Fl"
    Path("prompt.txt").write_text(prompt, encoding="utf-8")
    call = ("sample", "-m", run, "--prompt-file", "prompt.txt", "-n", 6, "--no-echo", "--greedy")
    assert charnn(*call).out != "ibbet.\n"
    adapted = charnn(*call, "--adapt")
    assert (adapted.status, adapted.out) == (0, "ibbet.\n"), adapted.err
    written = by_hand(charnn, run, monkeypatch, ["t 0", f"i {prompt[3:]}", "r 6", "q"], "--adapt")
    assert written.out.endswith("The wolgle met Flibbet.\n")


@pytest.mark.parametrize("line", ["foo", "99", "r 0", "t x", "u -1", "i", "t nan"])
def test_a_line_that_is_no_command_is_said_and_changes_nothing(charnn, run, monkeypatch, line):
    result = by_hand(charnn, run, monkeypatch, [line])
    assert (result.status, result.out) == (0, "The\n")
    assert f"found {line!r}" in result.err
    assert {"foo": "is not a command", "99": "choose 1 to 10"}.get(line, "takes a") in result.err


def test_what_was_written_by_hand_is_kept_whatever_ends_it(charnn, run, monkeypatch):
    lines = iter(["i  fox", "i  sa"])

    def interrupted_line():
        for line in lines:
            return line + "\n"
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin.readline", interrupted_line, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin", type("Typed", (io.StringIO,), {"readline": staticmethod(interrupted_line)})())
    result = charnn("sample", "The", "-m", run, "--interactive", "--stop", "said")
    assert result.out == "The fox sa\n"
    assert result.status == 130


def test_what_goes_wrong_by_hand_ends_nothing(charnn, run, monkeypatch):
    result = by_hand(charnn, run, monkeypatch, ["i ☃", "t -1", "u", "x", "q"])
    assert (result.status, result.out) == (0, "The\n")
    assert "text: character '☃'" in result.err
    assert "--temperature: found -1" in result.err
    assert "there is nothing to undo" in result.err
    assert "there is no turn to retry" in result.err


def test_a_gap_is_filled_by_the_candidates_that_are_given(charnn, line_run):
    options = ("fill", "a____b", "-m", line_run)
    found = records(charnn(*options, "--candidates", "b,a", "--candidates", "bb", "--format", "jsonl"))
    assert {record["candidate"] for record in found} == {"a", "b", "bb"}
    assert [record["log_prob"] for record in found] == sorted((record["log_prob"] for record in found), reverse=True)
    scored = records(charnn("score", "--text", found[0]["text"], "-m", line_run, "--format", "jsonl"))
    assert found[0]["log_prob"] == pytest.approx(scored[0]["log_prob"], abs=1e-5)
    Path("candidates.txt").write_text("b\na\n", encoding="utf-8")
    from_file = records(charnn(*options, "--candidates-file", "candidates.txt", "--format", "jsonl"))
    assert [record["candidate"] for record in from_file] == [r["candidate"] for r in found if r["candidate"] != "bb"]


def test_a_gap_is_filled_by_search(charnn, run):
    shown = charnn("fill", "The ____ said", "-m", run, "--top", 3)
    assert shown.status == 0
    assert "probability" in shown.out
    assert "remaining " in shown.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("The fox",), "TEXT: found no gap (____) in it"),
        (("a ____ b ____",), "TEXT: found 2 gaps"),
        (("a ____", "--candidates", "x,,y"), "--candidates: found an empty candidate"),
        (("a ____", "--candidates", "☃"), "candidate '☃': character '☃'"),
        (("a ____", "--candidates", "x", "--beam", "3"), "--beam: cannot be combined with --candidates"),
        (("☃ ____",), "TEXT: character '☃'"),
        (("a ____", "--direction", "backward"), "not a backward one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_with_a_gap_is_said_in_one_line(charnn, run, options, message):
    result = charnn("fill", *options, "-m", run)
    assert result.status in (1, 2)
    assert len(result.err.splitlines()) == 1
    assert message in result.err


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    prompt=st.text(max_size=20),
    on_unknown=st.sampled_from(["error", "skip", "unk"]),
    options=st.sampled_from(
        [
            (),
            ("--top-p", 0.5, "--min-p", 0.1),
            ("--beam", 2),
            ("--until", "sentence"),
            ("--no-repeat-ngram", 1),
            ("--show-alternatives", 1),
            ("--num-samples", 3, "--format", "jsonl"),
        ]
    ),
)
def test_any_prompt_gives_text_or_one_clear_line(charnn, run, prompt, on_unknown, options):
    result = charnn("sample", "-m", run, "-n", 2, "--on-unknown", on_unknown, *options, "--", prompt)
    complaints = [line for line in result.err.splitlines() if not line.startswith("charnn: seed")]
    assert result.status in (0, 1)
    assert len(complaints) == (result.status or sum("ended early" in line for line in complaints))
    assert all(line.startswith("charnn: ") for line in complaints)
    assert "Traceback" not in result.err
    assert "internal error" not in result.err


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_weights_of_fewer_bits_write_too(charnn, run, weights):
    result = charnn("sample", "The", "-m", run, "-n", 40, "--seed", 1, "--weights", weights)
    assert result.status == 0
    assert len(result.out) == 44
    exact = charnn("sample", "The", "-m", run, "-n", 40, "--seed", 1).out
    assert result.out[:5] == exact[:5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "cuda"), "--device cuda: found no CUDA device that torch can use"),
        (("--device", "cuda", "--weights", "int8"), "--weights int8: cannot be combined with --device cuda"),
        (("--weights", "int4"), "--weights"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_run_is_said_in_one_line(charnn, run, options, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = charnn("sample", "-m", run, *options)
    assert result.status in (1, 2)
    assert message in result.err
    assert len(result.err.splitlines()) == 1


@pytest.fixture
def word_run(tmp_path):
    text = "the fox said the heron\nthe heron said the fox and went\n" * 30
    return train_quietly(tmp_path, text, "--tokenizer", "word", "--min-count", 1, "--steps", 30)


def test_a_kept_memory_of_words_goes_on_with_their_gap(charnn, word_run):
    charnn("sample", "the fox", "-m", word_run, "-n", 0, "--save-state", "memory")
    whole = charnn("sample", "the fox said", "-m", word_run, "-n", 10, "--seed", 1, "--no-echo").out
    rest = charnn("sample", " said", "-m", word_run, "-n", 10, "--seed", 1, "--no-echo", "--load-state", "memory").out
    assert rest == whole


def test_a_line_that_began_in_a_kept_memory_goes_on_to_its_end(charnn, run):
    charnn("sample", "Once", "-m", run, "-n", 0, "--save-state", "memory")
    options = ("--until", "line", "--seed", 1, "--logit-bias", "\\n=40", "--format", "jsonl", "-m", run)
    assert records(charnn("sample", "Once", *options))[0]["ended"] == "line"
    (record,) = records(charnn("sample", "--load-state", "memory", *options))
    assert (record["text"], record["ended"]) == ("", "line")


def test_candidates_from_a_file_count_once(charnn, line_run):
    Path("candidates.txt").write_text("b\n\na\nb\n", encoding="utf-8")
    found = records(
        charnn("fill", "a____b", "-m", line_run, "--candidates-file", "candidates.txt", "--format", "jsonl")
    )
    assert sorted(record["candidate"] for record in found) == ["a", "b"]
    assert sum(record["share"] for record in found) == pytest.approx(1)


def test_a_search_that_finds_nothing_says_so(charnn, run, monkeypatch):
    monkeypatch.setattr("charnn.scoring.infilling.propose", lambda *_, **__: [])
    result = charnn("fill", "The ____ said", "-m", run)
    assert result.status == 1
    assert "TEXT: a search found nothing but spaces for the gap; raise --beam or --max-tokens" in result.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["a\udcff"],
            1,
            "prompt: character '\\xff' (a byte that is not UTF-8) at position 2 is not in the model's voc",
        ),
        (["a", "-n", "\udcff"], 2, "Invalid value for '-n' / '--length': it is not UTF-8; see charnn sample --help"),
        (["a", "--\udcff"], 2, "'--\\xff': no such option; see charnn sample --help-all"),
        (["a", "--ban-token", "b\udc80"], 2, "--ban-token: found 'b\\x80', which is none of the model's"),
    ],
)
def test_an_argument_that_is_not_utf_8_is_shown_as_bytes(charnn, run, arguments, status, message):
    result = charnn("sample", "-m", run, *arguments)
    assert (result.status, result.err.count("\n")) == (status, 1)
    assert result.err.startswith(f"charnn: error: {message}")
