"""What benchmark files of tokens have in them: `<unk>`, `</s>` and `<eos>`, at every door where a text comes in."""

import json

import pytest

from tests.conftest import train_quietly

LINES = ["the <unk> sat on N mats", "a cat ran", "the cat sat <unk>"] * 20
TEXTS = {
    "line ends": "".join(line + "\n" for line in LINES),
    "</s> before line ends": "".join(line + " </s>\n" for line in LINES),
    "<eos> for line ends": " <eos> ".join(LINES) + " <eos>",
}


@pytest.fixture(scope="module", params=["stream", "line"])
def model(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    options = ("--tokenizer", "word", "--pretokenized", "--unit", request.param, "--steps", 3)
    return train_quietly(directory, TEXTS["</s> before line ends"], *options)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("unit", ["stream", "line"])
def test_a_model_is_trained_on_the_same_tokens_however_line_ends_are_marked(text, unit, tmp_path):
    options = ("--tokenizer", "word", "--pretokenized", "--unit", unit, "--steps", 1, "--valid-fraction", 0)
    run = train_quietly(tmp_path, TEXTS[text], *options)
    stored = json.loads((run / "tokenizer.json").read_text())
    assert not {"</s>", "<eos>"} & set(stored["tokens"])
    counts = dict(zip(stored["tokens"], stored["counts"], strict=True))
    assert (counts["<unk>"], counts["\n"], counts["cat"]) == (40, 60, 40)


def test_a_line_scores_the_same_with_and_without_the_mark_at_its_end(charnn, model, tmp_path):
    (tmp_path / "plain.txt").write_text("the cat sat\na <unk> ran\n")
    (tmp_path / "marked.txt").write_text("the cat sat </s>\na <unk> ran <eos>\n")
    plain, marked = (
        charnn("score", tmp_path / f"{name}.txt", "-m", model, "--unit", "line", "--format", "jsonl", "--per-token")
        for name in ("plain", "marked")
    )
    records = [[{**json.loads(line), "file": ""} for line in result.out.splitlines()] for result in (marked, plain)]
    assert (marked.status, records[0]) == (0, records[1])
    assert [record["num_unknown"] for record in records[0]] == [0, 1]


def test_a_mark_within_a_text_is_its_boundary(charnn, model):
    result = charnn("score", "-m", model, "--text", "cat </s> ran", "--format", "jsonl", "--per-token", "--no-eos")
    tokens = json.loads(result.out)["tokens"]
    assert [token["token"] for token in tokens] == ["cat", "\n", "ran"]
    tokens = charnn("tokenize", "-m", model, "cat </s> ran", "--format", "jsonl").out
    assert [json.loads(line)["unknown"] for line in tokens.splitlines()] == [False] * 3


def test_what_follows_the_mark_is_predicted_and_sampled_as_at_the_beginning_of_a_line(charnn, model, tmp_path):
    after_mark = charnn("predict", "-m", model, "a cat ran </s>", "--format", "jsonl")
    after_line = charnn("predict", "-m", model, "a cat ran\n", "--format", "jsonl")
    assert (after_mark.status, after_mark.out) == (0, after_line.out)
    after_mark = charnn("sample", "-m", model, "a cat ran </s>", "-n", 5, "--seed", 1, "--no-echo")
    after_line = charnn("sample", "-m", model, "a cat ran\n", "-n", 5, "--seed", 1, "--no-echo")
    assert after_mark.status == after_line.status == 0
    assert after_mark.out == after_line.out
