"""What a message advises is copied from it and run, in a directory whose name has a space."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

SMALL = ("--steps", 2, "--hidden-size", 8, "--embedding-size", 4, "--precision", "fp32")
TEXT = "the cat sat on the mat\na cat ran\n" * 40


def advised(result, pattern=r"charnn (.+)$"):
    """Return the words of the command line, or of its options, in the last message that has one."""
    assert re.search(pattern, result.err + result.out, re.M), result.err
    *_, found = re.finditer(pattern, result.err + result.out, re.M)
    return shlex.split(found[1])


@pytest.fixture(autouse=True)
def _in_a_directory_with_a_space(tmp_path, monkeypatch):
    (tmp_path / "my texts").mkdir()
    monkeypatch.chdir(tmp_path / "my texts")
    Path("my text.txt").write_text(TEXT)


def succeeds(result):
    assert result.status == 0, result.err
    return result


@pytest.mark.parametrize(
    ("direction", "command"), [("forward", "sample"), ("backward", "predict"), ("both", "predict")]
)
def test_the_command_to_try_next_with_a_model(charnn, direction, command):
    trained = charnn("train", "my text.txt", "-o", "my runs/a b", "--direction", direction, *SMALL)
    words = advised(trained)
    assert words[0] == command
    if direction != "forward":
        words = [word.replace("text with ____ in it", "the ____ ran").replace("TEXT", "cat") for word in words]
    shown = succeeds(charnn(*words, *(["-n", 5] if command == "sample" else [])))
    assert shown.out


def test_a_finished_run_is_extended(charnn):
    train_it = ("train", "my text.txt", "-o", "my runs/a b")
    assert charnn(*train_it, *SMALL).status == 0
    refused = charnn("train", "--resume", "-o", "my runs/a b")
    larger = advised(refused, r"with a larger one, e\.g\. (--resume .+)$")
    succeeds(charnn("train", "-o", "my runs/a b", *larger))
    refused = charnn(*train_it, *SMALL)
    assert advised(refused, r"replace it with (--overwrite)") == ["--overwrite"]
    succeeds(charnn(*train_it, *SMALL, *advised(refused, r"replace it with (--overwrite)")))


def test_a_run_without_its_backward_half_is_resumed(charnn):
    assert charnn("train", "my text.txt", "-o", "a b", "--direction", "both", *SMALL).status == 0
    shutil.rmtree("a b/backward")
    refused = charnn("predict", "the ____ ran", "-m", "a b", "--direction", "both")
    assert refused.status == 1
    succeeds(charnn(*advised(refused, r"train it with: charnn (.+)$")))
    succeeds(charnn("predict", "the ____ ran", "-m", "a b"))


def test_a_prompt_is_continued_from_its_saved_state(charnn, run):
    saved = charnn("sample", "The fox", "-m", run, "--save-state", "my state", "-n", 0)
    succeeds(charnn("sample", " ran", "-m", run, "-n", 5, *advised(saved, r"continue from it with (.+)$")))


@pytest.mark.parametrize(
    ("content", "option"),
    [
        pytest.param("Größe, Straße, für, Übung, schön\n" * 30, "cp1252", id="cp1252"),
        pytest.param(TEXT, "utf-16-le", id="utf-16-le"),
        pytest.param("Лиса бежит по снегу, а река молчит подо льдом\n" * 20, "koi8-r", id="koi8-r"),
    ],
)
@pytest.mark.parametrize("command", ["train", "score"])
def test_a_text_is_read_in_the_encoding_that_is_advised(charnn, run, command, content, option):
    Path("my text.txt").write_bytes(content.encode(option))
    line = ["train", "my text.txt", *SMALL] if command == "train" else ["score", "my text.txt", "-m", run]
    refused = charnn(*line)
    assert refused.status == 1
    advice = advised(refused, r"pass (--encoding \S+)$")
    assert advice == ["--encoding", option]
    succeeds(charnn(*line, *advice))


def run_by_the_shell(command):
    assert command.split()[0].strip("'") in ("iconv", "tr")
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    subprocess.run(command, shell=True, check=False, executable="/bin/sh")


def test_damaged_lines_and_nul_characters_are_removed(charnn):
    Path("my text.txt").write_bytes(("schön\n" * 40).encode() + b"sch\xf6n\n" + ("größer\n" * 40).encode())
    refused = charnn("train", "my text.txt", *SMALL)
    run_by_the_shell(re.search(r"drop invalid bytes: (.+)$", refused.err, re.M)[1])
    succeeds(charnn("train", "corrected.txt", *SMALL))
    Path("my text.txt").write_bytes(TEXT.encode() * 100 + b"a\0b\n")
    refused = charnn("train", "my text.txt", *SMALL)
    tr = re.search(r"remove all of them with (tr -d '\\000'), or", refused.err)[1]
    run_by_the_shell(f"{tr} < 'my text.txt' > cleaned.txt")
    succeeds(charnn("train", "cleaned.txt", *SMALL))
    succeeds(charnn("train", "my text.txt", *SMALL, *advised(refused, r"or train with (--tokenizer byte)$")))


def test_a_vocabulary_of_subwords_is_as_large_as_is_advised(charnn):
    line = ("train", "my text.txt", "--tokenizer", "subword", *SMALL)
    refused = charnn(*line, "--vocab-size", 3)
    assert refused.status == 2
    succeeds(charnn(*line, *advised(refused, r"pass (--vocab-size \d+) or so$")))


def test_without_a_model_one_is_trained_or_named(charnn):
    refused = charnn("sample")
    trained = charnn(
        *[word.replace("TEXT", "my text.txt") for word in advised(refused, r"charnn (train TEXT)$")], *SMALL
    )
    assert succeeds(trained)
    assert "name its directory" in refused.err
    succeeds(charnn("sample", "-m", "runs/my text", "-n", 3))
    succeeds(charnn("info", "runs/my text"))
    refused = charnn("train")
    Path("book.txt").write_text(TEXT)
    succeeds(charnn(*advised(refused), *SMALL))


def test_models_of_different_vocabularies_are_compared(charnn, run):
    succeeds(charnn("train", "my text.txt", "-o", "other", *SMALL))
    refused = charnn("score", "my text.txt", "-m", run, "-m", "other")
    names = {"A": run, "B": "other", "FILE": "my text.txt"}
    succeeds(charnn(*[names.get(word, word) for word in advised(refused, r"compare them: charnn (.+)$")]))


def test_a_recipe_is_used(charnn):
    listed = charnn("recipes")
    names = {"TEXT": "my text.txt", "NAME": "karpathy"}
    words = [names.get(word, word) for word in advised(listed, r"To use one: charnn (.+)$")]
    succeeds(charnn(*words, *SMALL[:4], "--batch-size", 2, "--bptt", 8, "--num-layers", 1))


def test_a_learning_rate_that_was_found_is_tried(charnn):
    found = charnn("train", "my text.txt", "--find-lr", "--optimizer", "adamw", *SMALL[2:])
    rate = advised(found, r"try (--learning-rate \S+)$")
    succeeds(charnn("train", "my text.txt", "--optimizer", "adamw", *SMALL, *rate))


def test_rates_that_were_fitted_are_passed(charnn, run):
    Path("my text.txt").write_text("The fox ran.\n")
    line = ("score", "my text.txt", "-m", run, "--dynamic", "--summary", "-")
    fitted = charnn(*line)
    rates = advised(fitted, r"(--dynamic-stretch \S+ --dynamic-rate \S+ --dynamic-decay \S+), ")
    again = succeeds(charnn(*line, *rates))
    assert "fitting" not in again.err
    nats = [re.search(r'"nats": ([-\d.]+)', result.out)[1] for result in (fitted, again)]
    assert nats[0] == nats[1]


@pytest.mark.parametrize("which", ["skip", "unk"])
def test_unknown_tokens_are_skipped_or_kept(charnn, run, which):
    refused = charnn("sample", "the 猫 ran", "-m", run, "-n", 3)
    succeeds(charnn("sample", "the 猫 ran", "-m", run, "-n", 3, *advised(refused, rf"(--on-unknown {which})")))


def test_tokens_are_named_as_tokenize_shows_them(charnn, run):
    refused = charnn("sample", "the", "-m", run, "-n", 3, "--ban-token", "fox")
    (word,) = advised(refused, r"charnn (tokenize) shows")
    tokens = [
        json.loads(line)["token"] for line in charnn(word, "fox", "-m", run, "--format", "jsonl").out.splitlines()
    ]
    succeeds(
        charnn("sample", "the", "-m", run, "-n", 3, *(part for token in tokens for part in ("--ban-token", token)))
    )


def test_help_is_where_a_message_says(charnn):
    for wrong in (("sample", "--xyzzy"), ("xyzzy",)):
        refused = charnn(*wrong)
        assert refused.status == 2
        succeeds(charnn(*advised(refused, r"see charnn (.+)$")))


def test_a_cuda_device_that_is_missing_is_not_asked_for(charnn, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused = charnn("train", "my text.txt", "--device", "cuda", *SMALL)
    assert refused.status != 0
    succeeds(charnn("train", "my text.txt", *SMALL, *advised(refused, r"pass (--device cpu),")))
