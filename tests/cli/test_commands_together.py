"""`charnn sample`, `score`, `predict`, `tokenize` and `info` through their entry point."""

import gzip
import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charnn.cli.commands.info import LABELS, UNITS
from charnn.library import load


def records(result):
    assert result.status == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_a_sample_begins_with_its_prompt_and_repeats_with_its_seed(charnn, run):
    first = charnn("sample", "The heron", "-m", run, "-n", 60, "--seed", 4)
    assert first.status == 0
    assert first.out.startswith("The heron")
    assert len(first.out.removesuffix("\n")) in (9 + 60, 9 + 59)
    assert charnn("sample", "The heron", "-m", run, "-n", 60, "--seed", 4).out == first.out
    without = charnn("sample", "The heron", "-m", run, "-n", 60, "--seed", 4, "--no-echo").out
    assert "The heron" + without == first.out


def test_the_seed_that_was_drawn_is_said_and_repeats(charnn, run):
    drawn = charnn("sample", "-m", run, "-n", 40)
    seed = drawn.err.splitlines()[-1].removeprefix("charnn: seed ")
    assert charnn("sample", "-m", run, "-n", 40, "--seed", seed).out == drawn.out
    assert "seed" not in charnn("sample", "-m", run, "-n", 4, "--greedy").err


def test_several_samples_come_in_order_and_as_records(charnn, run, monkeypatch):
    monkeypatch.setattr("charnn.cli.output.console.is_terminal", lambda: True)
    text = charnn("sample", "-m", run, "-n", 30, "--num-samples", 3, "--seed", 7).out
    assert [line for line in text.splitlines() if line.startswith("===")] == [
        f"=== sample {number}, seed {6 + number} ===" for number in (1, 2, 3)
    ]
    found = records(charnn("sample", "-m", run, "-n", 30, "--num-samples", 3, "--seed", 7, "--format", "jsonl"))
    assert [record["seed"] for record in found] == [7, 8, 9]
    assert all(len(record["ids"]) == 30 and record["ended"] == "length" and record["log_prob"] < 0 for record in found)


def test_lines_are_sampled_one_a_line(charnn, line_run):
    result = charnn("sample", "-m", line_run, "--num-samples", 8, "--seed", 1)
    assert len(result.out.splitlines()) == 8
    assert set(result.out) <= set("ab\n")


def test_a_prompt_from_a_file_and_the_newest_model(charnn, run):
    Path("prompt.txt").write_text("The fox\n")
    result = charnn("sample", "--prompt-file", "prompt.txt", "-n", 3, "--seed", 1)
    assert result.out.startswith("The fox")
    assert not result.out.startswith("The fox\n\n")
    assert "charnn: using the newest model, runs/small" in result.err
    both = charnn("sample", "x", "--prompt-file", "prompt.txt")
    assert both.status == 2


def test_a_terminal_gets_the_text_as_it_comes(run):
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "charnn", "sample", "The", "-m", str(run), "-n", "20", "--seed", "1"]
    subprocess.run(command, stdout=slave, stderr=subprocess.DEVNULL, check=True)
    os.close(slave)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert shown.startswith("The")


def test_a_reader_that_goes_away_is_no_error(run):
    command = f"{sys.executable} -m charnn sample -m {run} -n 30000 --seed 1 | head -c 10"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert len(result.stdout) == 10
    assert "Traceback" not in result.stderr
    assert "error" not in result.stderr


def test_an_unknown_character_in_the_prompt_is_one_line(charnn, run):
    result = charnn("sample", "The ∑", "-m", run)
    assert result.status == 1
    assert result.err.startswith(
        "charnn: error: prompt: character '∑' (U+2211) at position 5 is not in the model's vocabulary"
    )
    for choice in ("skip", "unk"):
        assert charnn("sample", "The ∑", "-m", run, "-n", 2, "--seed", 1, "--on-unknown", choice).status == 0


def test_a_newline_in_a_message_does_not_make_two_lines(charnn, run):
    assert len(charnn("sample", "-m", "no\nmodel").err.splitlines()) == 1


@pytest.mark.parametrize("mixing", [(), ("--mix-ngram",)])
def test_the_next_tokens_probabilities_sum_to_one(charnn, run, mixing):
    found = records(charnn("predict", "The hero", "-m", run, "--top", 0, "--format", "jsonl", *mixing))
    assert sum(record["prob"] for record in found) == pytest.approx(1, abs=1e-6)
    probs = [record["prob"] for record in found]
    assert probs == sorted(probs, reverse=True)
    table = charnn("predict", "The hero", "-m", run, "--top", 3, *mixing).out
    assert f"{found[0]['prob']:.6f}" in table
    assert f"remaining {len(found) - 3} tokens: " in table


@pytest.mark.parametrize("mixing", [(), ("--mix-ngram",)])
def test_words_are_completed_as_by_the_api(charnn, run, mixing):
    (best, *_) = found = records(
        charnn("predict", "The f", "-m", run, "--complete", "--top", 4, "--format", "jsonl", *mixing)
    )
    assert [*best] == ["word", "completion", "prob"]
    assert all(record["word"] == "f" + record["completion"] for record in found)
    model = load(run)
    words = model.complete("The f", top=4, mix_ngram=bool(mixing))
    assert [word.to_dict() for word in words] == found
    assert model.complete("The fo", top=4, mix_ngram=bool(mixing))[0].word.startswith("fo")
    table = charnn("predict", "The f", "-m", run, "--complete", "--top", 4, *mixing).out
    assert f"{best['prob']:.6f}" in table
    assert f"everything else: {1 - sum(record['prob'] for record in found):.6f}" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("The ____", "--complete"), "--complete: cannot be combined with a gap (____) in TEXT; leave one out"),
        (("x", "--complete", "--direction", "backward"), "--complete: cannot be combined with --direction backward"),
        (("The f", "--complete", "--top", 0), "--top: found 0 (all), but a char model can write any word"),
    ],
)
def test_what_completes_no_word_is_refused_in_one_line(charnn, run, arguments, message):
    result = charnn("predict", *arguments, "-m", run)
    assert result.status == 2
    assert len(result.err.splitlines()) == 1
    assert message in result.err


@pytest.mark.parametrize("mixing", [(), ("--mix-ngram",)])
def test_a_sentences_probability_is_the_product_of_the_predictions(charnn, run, mixing):
    sentence = "The fox."
    (scored,) = records(charnn("score", "-m", run, "--text", sentence, "--format", "jsonl", "--per-token", *mixing))
    total = 0.0
    for place, token in enumerate([*sentence, "\n"]):
        predicted = records(charnn("predict", sentence[:place], "-m", run, "--top", 0, "--format", "jsonl", *mixing))
        prob = next(record["prob"] for record in predicted if record["token"] == token)
        assert math.log(prob) == pytest.approx(scored["tokens"][place]["log_prob"], abs=1e-5)
        total += math.log(prob)
    assert scored["log_prob"] == pytest.approx(total, abs=1e-5)


def test_scores_of_a_file_come_one_a_line_blank_ones_included(charnn, run):
    Path("lines.txt").write_text("The fox\n\nThe heron\n")
    found = records(charnn("score", "-m", run, "lines.txt", "--format", "jsonl"))
    assert [(record["line"], record["num_tokens"]) for record in found] == [(1, 8), (2, 1), (3, 10)]
    bits = records(charnn("score", "-m", run, "lines.txt", "--format", "jsonl", "--log-base", "2"))
    assert [record["log_prob"] * math.log(2) for record in bits] == pytest.approx(
        [record["log_prob"] for record in found]
    )
    table = charnn("score", "-m", run, "lines.txt").out
    assert "log probabilities: natural logarithm (nats)" in table
    assert "perplexity" in table
    tsv = charnn("score", "-m", run, "lines.txt", "--format", "tsv")
    assert [line.split("\t")[0] for line in tsv.out.splitlines()] == ["line", "1", "2", "3"]
    assert "19 tokens (0 unknown), 19 characters, 19 bytes" in tsv.err
    tokens = charnn("score", "-m", run, "--text", "a", "--per-token")
    assert "⏎" in tokens.out
    unscored = charnn("score", "-m", run, "--text", "a", "--per-token", "--no-bos")
    assert "not scored" in unscored.out


def test_a_file_scored_as_one_stream_and_its_summary(charnn, run):
    Path("text.txt").write_text("The fox\nThe heron\n")
    (record,) = records(
        charnn("score", "-m", run, "text.txt", "--unit", "stream", "--format", "jsonl", "--summary", "totals.json")
    )
    totals = json.loads(Path("totals.json").read_text())
    assert record["num_tokens"] == totals["num_tokens"] == totals["num_chars"] == 18
    assert totals["nats"] == record["log_prob"]
    assert totals["bits_per_char"] == pytest.approx(-totals["nats"] / math.log(2) / 18)


def test_documents_gzip_and_standard_input_are_scored(charnn, run):
    Path("documents.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n\nthree\n"))
    found = records(charnn("score", "-m", run, "documents.txt.gz", "--unit", "document", "--format", "jsonl"))
    assert [record["num_tokens"] for record in found] == [8, 6]
    command = [sys.executable, "-m", "charnn", "score", "-m", str(run), "--format", "jsonl"]
    piped = subprocess.run(command, input="one\n", capture_output=True, text=True, check=True)
    assert json.loads(piped.stdout)["num_tokens"] == 4


def test_the_trainers_figure_is_the_scorers(charnn, run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    text = Path(config["corpus"]["files"][0]["name"]).read_text(encoding="utf-8")
    Path("held_out.txt").write_text(text[int(len(text) * 0.9) :], encoding="utf-8")
    charnn("score", "-m", run, "held_out.txt", "--unit", "stream", "--summary", "s.json")
    totals = json.loads(Path("s.json").read_text())
    trained = json.loads(charnn("info", run, "--json").out)
    assert totals["num_tokens"] == trained["valid_num_tokens"]
    assert totals["nats_per_token"] == pytest.approx(-totals["nats"] / totals["num_tokens"])
    assert totals["nats_per_token"] == pytest.approx(trained["valid_loss_nats"], abs=1e-4)


def test_the_mixture_is_better_than_either_and_the_scorer_agrees(charnn, run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    text = Path(config["corpus"]["files"][0]["name"]).read_text(encoding="utf-8")
    Path("held_out.txt").write_text(text[int(len(text) * 0.9) :], encoding="utf-8")
    charnn("score", "-m", run, "held_out.txt", "--unit", "stream", "--summary", "s.json", "--mix-ngram")
    found = json.loads(Path("s.json").read_text())["nats_per_token"]
    trained = json.loads(charnn("info", run, "--json").out)
    assert found == pytest.approx(
        trained["mixture_loss_nats"], abs=0.02
    )  # half the text or all of it to fit the weights
    assert found < min(trained["valid_loss_nats"], trained["ngram_loss_nats"])
    assert trained["valid_loss_cold_nats"] > 0


def test_a_mixture_that_is_worse_than_the_ngram_model_alone_is_named(charnn):
    """The network learned nothing in one step, and few held-out tokens do not suffice to leave it out."""
    Path("abc.txt").write_text("abcdefgh\n" * 60, encoding="utf-8")
    done = charnn("train", "abc.txt", "-o", "abc", "--steps", 1, "--hidden-size", 8, "--embedding-size", 4)
    assert done.status == 0, done.err
    facts = json.loads(charnn("info", "abc", "--json").out)
    assert facts["ngram_loss_nats"] < facts["mixture_loss_nats"] < facts["valid_loss_nats"]
    assert "nats per token (--mix-ngram): worse than the n-gram model alone\n" in done.err


def test_a_mixed_sample_is_drawn_from_the_mixture(charnn, run):
    options = ("sample", "The fox", "-m", run, "-n", 40, "--seed", 3, "--format", "jsonl", "--no-echo")
    (mixed,) = records(charnn(*options, "--mix-ngram"))
    (alone,) = records(charnn(*options))
    assert mixed["text"] != alone["text"]
    two = records(charnn(*options, "--mix-ngram", "--num-samples", 2))
    assert two[0]["text"] == mixed["text"]
    Path("whole.txt").write_text("The fox" + mixed["text"], encoding="utf-8")
    scored = records(
        charnn("score", "-m", run, "whole.txt", "--unit", "stream", "--format", "jsonl", "--per-token", "--mix-ngram")
    )
    drawn = scored[0]["tokens"][len("The fox") :]
    assert sum(token["log_prob"] for token in drawn) == pytest.approx(mixed["log_prob"], abs=1e-4)


def test_mixing_wants_an_ngram_model_that_fits(charnn, run):
    mixed = ("score", "-m", run, "--text", "a", "--mix-ngram")
    file = run / "ngram.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    assert f"{file}: is damaged or truncated" in charnn(*mixed).err
    file.write_bytes(content.replace(b"tokenizer_sha256", b"tokenizer_sha255"))
    assert f"{file}: belongs to another tokenizer; restore" in charnn(*mixed).err
    file.unlink()
    assert (
        f"{file}: the n-gram model is missing; restore it, train a new run (without --ngram-order 0)"
        in charnn(*mixed).err
    )
    config = json.loads((run / "config.json").read_text())
    config["mixture_weights"] = config["mixture_weights"][1:]
    (run / "config.json").write_text(json.dumps(config))
    file.write_bytes(content)
    assert (
        "has order 7, but config.json has weights for order 6; restore the files that belong together"
        in charnn(*mixed).err
    )
    config["mixture_weights"] = None
    (run / "config.json").write_text(json.dumps(config))
    result = charnn(*mixed)
    assert result.status == 1
    assert (
        f"{run}: has no n-gram model to interpolate with (training is not complete, nothing was held out" in result.err
    )
    assert charnn("score", "-m", run, "--text", "a").status == 0


def test_a_scorer_wants_a_text_but_not_two(charnn, run, monkeypatch):
    assert charnn("score", "-m", run, "a.txt", "--text", "b").status == 2
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
    nothing = charnn("score", "-m", run)
    assert (nothing.status, "FILE: found none" in nothing.err) == (2, True)


def test_the_three_rows_of_a_text(charnn, run):
    result = charnn("tokenize", "-m", run, "a é")
    rows = [line.split() for line in result.out.splitlines()]
    assert rows[0] == ["string", "a", "␣", "é"]
    assert rows[1] == ["tokens", "a", "␣", "<unk>"]
    assert rows[2][0] == "ids"
    assert rows[2][3] == "0"
    assert result.out.endswith("3 tokens, 1 unknown: 'é' at position 3\n")
    found = records(charnn("tokenize", "-m", run, "a é", "--format", "jsonl"))
    assert [record["unknown"] for record in found] == [False, False, True]
    long = charnn("tokenize", "-m", run, "the fox and the heron " * 10).out
    assert max(map(len, long.splitlines())) <= 120
    many = charnn("tokenize", "-m", run, "é" * 15).out
    assert "and 5 more" in many


def test_info_says_how_a_model_was_made(charnn, run, line_run):
    result = charnn("info", run, line_run)
    assert result.status == 0
    for part in ("validation loss", " nats/token", "parameters", "training time", "runs/small", "runs/lines", "sha256"):
        assert part in result.out
    assert "_" not in "".join(line[:28] for line in result.out.splitlines())
    both = json.loads(charnn("info", run, line_run, "--json").out)
    assert [facts["unit"] for facts in both] == ["stream", "line"]
    within_another_row = {"label_majority", "label_num_units", "label_network_weight", "label_ngram_weight"}
    within_another_row |= {"label_mixture_loss_nats", "num_ngram_embedding_parameters"}
    assert set(both[0]) == {*LABELS, *within_another_row}
    assert set(UNITS) < set(LABELS)
    newest = charnn("info", "--json")
    assert json.loads(newest.out)["cell"] == "lstm"
    for key in (
        "valid_loss_nats", "valid_bits_per_char", "num_parameters", "vocab_size", "tokenizer", "cell", "hidden_size",
        "num_layers", "steps", "seconds",
    ):  # fmt: skip
        assert key in json.loads(newest.out)


@pytest.mark.parametrize("command", ["sample", "score --text x", "predict x", "tokenize x", "info"])
def test_a_model_that_is_none_is_one_line(charnn, tmp_path, command):
    name, *rest = command.split()
    where = ("none",) if name == "info" else ("-m", "none")
    result = charnn(name, *rest, *where)
    assert (result.status, len(result.err.splitlines())) == (1, 1)
    assert result.err.startswith("charnn: error: none: no such model directory")
    assert result.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "-n", "-2"),
        ("sample", "-t", "-1"),
        ("sample", "--top-p", "0"),
        ("predict", "x", "--top", "-1"),
        ("sample", "-n", "x"),
        ("nonsense",),
    ],
)
def test_wrong_usage_exits_with_two(charnn, arguments):
    result = charnn(*arguments)
    assert result.status == 2
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(run):
    from charnn.cli.main import main
    from charnn.errors import ModelError

    with pytest.raises(ModelError):
        main(["info", "none", "--debug"])


def test_a_fault_of_charnns_own_is_one_line_too(charnn, run, monkeypatch):
    monkeypatch.setattr("charnn.cli.commands.loading.load_model", lambda *_: 1 / 0)
    monkeypatch.setattr("charnn.cli.commands.predict.load_directed", lambda *_: 1 / 0)
    result = charnn("predict", "x")
    assert result.status == 1
    assert result.err == (
        "charnn: internal error: ZeroDivisionError: division by zero; "
        "run the command again with --debug and report what it shows\n"
    )


def test_version_and_help(charnn):
    import charnn as package

    assert charnn("--version").out == f"charnn {package.__version__}\n"
    assert "Usage: charnn" in charnn().out + charnn().err
    assert "--temperature" in charnn("sample", "--help").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_knows_the_commands(shell):
    environment = {**os.environ, "_CHARNN_COMPLETE": f"complete_{shell}", "COMP_WORDS": "charnn s", "COMP_CWORD": "1",
                   "_TYPER_COMPLETE_ARGS": "charnn s", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
    command = [str(Path(sys.executable).with_name("charnn"))]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert {"sample", "score"} <= {
        word.strip('"').split(":")[0].split("\t")[0] for word in result.stdout.replace('"', " ").split()
    }


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(prompt=st.text(max_size=20), on_unknown=st.sampled_from(["error", "skip", "unk"]))
def test_any_string_as_a_prompt_gives_text_or_one_line(charnn, run, prompt, on_unknown):
    result = charnn("sample", "-m", run, "-n", 2, "--seed", 1, "--on-unknown", on_unknown, "--", prompt)
    assert result.status in (0, 1)
    assert result.status == 0 or len(result.err.splitlines()) == 1
    assert charnn("score", "-m", run, "--text=" + prompt.replace("\0", ""), "--format", "jsonl").status == 0


@pytest.mark.parametrize("width", [40, 80])
def test_tables_keep_their_figures_on_a_narrow_terminal(charnn, run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    (record,) = records(charnn("score", "-m", run, "--text", "the fox and the heron " * 5, "--format", "jsonl"))
    table = charnn("score", "-m", run, "--text", "the fox and the heron " * 5).out
    assert f"{record['log_prob']:.4f}" in table
    predicted = records(charnn("predict", "The", "-m", run, "--top", 1, "--format", "jsonl"))
    assert f"{predicted[0]['prob']:.6f}" in charnn("predict", "The", "-m", run, "--top", 1).out
    assert "validation bits/char" in charnn("info", run).out


def test_nothing_to_score_is_one_line(charnn, run):
    Path("empty.txt").touch()
    for unit in ("line", "stream", "document"):
        result = charnn("score", "-m", run, "empty.txt", "--unit", unit, "--format", "jsonl")
        assert (result.status, result.out) == (1, "")
        assert result.err == "charnn: error: empty.txt: is empty; there is nothing to score\n"


@pytest.mark.parametrize(
    "arguments",
    [
        "train - -o m",
        "score -m RUN",
        "score -m RUN -",
        "score -m RUN --pairs -",
        "score -m RUN --nbest -",
        "score -m RUN -m RUN --text x --fit-weights -",
        "compare RUN RUN -",
    ],
)
def test_empty_standard_input_is_named_and_says_what_to_do(run, arguments):
    Path("text.txt").write_text("the fox and the heron\n" * 20)
    command = [sys.executable, "-m", "charnn", *arguments.replace("RUN", str(run)).split()]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    last = result.stderr.splitlines()[-1]
    assert last == "charnn: error: standard input: is empty; pipe a text into the command or name a file"
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sample -m RUN --prompts -", "contains no line; write at least one"),
        ("fill ____ -m RUN --candidates-file -", "contains no line; write at least one"),
        ("train text.txt --valid - -o m", "contains no text to validate on; name another --valid file or leave it out"),
    ],
)
def test_an_empty_list_on_standard_input_is_named(run, arguments, message):
    Path("text.txt").write_text("the fox and the heron\n" * 20)
    command = [sys.executable, "-m", "charnn", *arguments.replace("RUN", str(run)).split()]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    last = result.stderr.splitlines()[-1]
    assert (result.returncode, last) == (1, f"charnn: error: standard input: {message}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_output_device_is_one_line(run):
    command = f"{sys.executable} -m charnn info {run} > /dev/full"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == (
        "charnn: error: standard output: cannot be written: no space is left on the disk; free some and run the command again\n"
    )


def test_a_prompt_file_in_another_encoding(charnn, run):
    Path("prompt.txt").write_bytes(
        "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.".encode("koi8-r")
    )
    assert "pass --encoding koi8-r" in charnn("sample", "-m", run, "--prompt-file", "prompt.txt").err
    arguments = ("-n", 2, "--on-unknown", "skip", "--seed", 1)
    found = charnn("sample", "-m", run, "--prompt-file", "prompt.txt", "--encoding", "koi8-r", *arguments)
    assert found.out.startswith("Все счастливые")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("train", "x.txt", "--wrong", 3), "--wrong: no such option; see charnn train --help-all"),
        (("train", "x.txt", "--steps", "many"), "Invalid value for '--steps': "),
        (("train", "x.txt", "--cell", "lstmm"), "Invalid value for '--cell': 'lstmm' is not one of 'lstm', 'gru'"),
        (("predict",), "Missing argument "),
        (("trian", "x.txt"), "trian: no such command; did you mean train?"),
    ],
    ids=["option", "number", "choice", "argument", "command"],
)
def test_wrong_usage_is_one_line_too(charnn, arguments, line):
    refused = charnn(*arguments)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith(f"charnn: error: {line}")
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("redirection", "status", "err"),
    [
        (">&-", 1, "charnn: error: standard output: is closed; open it, or redirect it to a file\n"),
        ("-o out.jsonl >&-", 0, ""),
        ("2>&- <&-", 0, ""),
        ("-o out.jsonl >&- 2>&- <&-", 0, ""),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_results_go_to_the_stream_that_is_open(run, redirection, status, err):
    command = (
        f"{shlex.quote(sys.executable)} -m charnn score -m {run} --text 'The fox' --format jsonl --no-eos {redirection}"
    )
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.returncode == status
    notices = [line for line in result.stderr.splitlines(keepends=True) if "error" in line]
    assert "".join(notices) == err
    records = Path("out.jsonl").read_text() if "-o" in redirection else result.stdout
    assert records.count('"log_prob"') == (1 if status == 0 else 0)


def test_texts_that_look_like_options_and_line_ends_that_are_spelled_are_explained(charnn, run):
    result = charnn("sample", "- What", "-m", run)
    assert (result.status, result.err) == (
        2,
        "charnn: error: a text that starts with a hyphen is read as an option; put -- before it: charnn sample -- '- What'\n",
    )
    assert charnn("sample", "-m", run, "-n", 3, "--on-unknown", "unk", "--", "- What").status == 0
    spelled = charnn("sample", "The\\nThe", "-m", run)
    assert spelled.err.endswith(
        "change it, or give a line end as such: in a --prompt-file, or in a shell as $'first\\nsecond'\n"
    )
    assert charnn("sample", "The\nThe", "-m", run, "-n", 3).status == 0
    assert "did you mean" not in charnn("predict", "-t", 1, "The", "-m", run).err
