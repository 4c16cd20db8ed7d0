"""One protocol for perplexity: `info`, `score` and `compare` agree where they name the same options."""

import json
from pathlib import Path

import pytest

from charnn.config import ScoreOptions
from charnn.scoring.protocol import protocol_in_words, protocol_of, validation_in_words, validation_protocol
from charnn.storage.model_directory import read_config
from charnn.text.splitting import stream_splitter, unit_splitter
from tests.conftest import FABLES, train_quietly


def write_held_out(run: Path) -> Path:
    """Write the held-out part of a model's text to a file, as training divides it."""
    config = read_config(run)
    text, options = Path(config.corpus.files[0].name).read_text(encoding="utf-8"), config.asked.text
    if options.unit == "stream":
        split = stream_splitter(iter([text]), options.valid_fraction, "", [])
    else:
        split = unit_splitter(iter([text]), options.unit, options.valid_fraction, config.seed, "", [])
    held_out = [part for chunk in split(iter([text])) if chunk.split == "valid" for part in chunk.texts]
    separator = {"stream": "", "line": "\n", "document": "\n\n"}[options.unit]
    Path("held_out.txt").write_text(separator.join(held_out), encoding="utf-8")
    return Path("held_out.txt")


def of_info(charnn, run):
    return json.loads(charnn("info", run, "--json").out)


def of_score(charnn, run, *options):
    charnn("score", "-m", run, "held_out.txt", "--summary", "s.json", *options)
    return json.loads(Path("s.json").read_text(encoding="utf-8"))


def of_comparison(charnn, run, other, *options):
    return json.loads(charnn("compare", run, other, "held_out.txt", "--format", "json", *options).out)


@pytest.fixture(scope="module")
def document_run(tmp_path_factory):
    text = "".join(f"a {'b' * (number % 7)}\nb a\n\n" for number in range(80))
    return train_quietly(tmp_path_factory.mktemp("documents"), text, "--steps", 4, "--unit", "document")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        pytest.param("run", "--unit stream", id="stream"),
        pytest.param("line_run", "--unit line --state reset", id="line"),
        pytest.param("document_run", "--unit document --state reset", id="document"),
    ],
)
def test_score_and_compare_repeat_the_figure_of_training_with_the_options_that_info_names(
    charnn, request, model, name, run
):
    trained = request.getfixturevalue(model)
    write_held_out(trained)
    facts = of_info(charnn, trained)
    assert facts["valid_protocol"] == name
    assert facts["valid_num_tokens"] == facts["held_out_num_tokens"]
    scored, compared = of_score(charnn, trained, *name.split()), of_comparison(charnn, trained, run, *name.split())
    assert scored["protocol"] == compared["protocol"] == name
    for found in (scored, compared["models"][0]):
        assert found["num_tokens"] == facts["valid_num_tokens"]
        assert found["nats_per_token"] == pytest.approx(facts["valid_loss_nats"], abs=1e-6)
        assert found["bits_per_char"] == pytest.approx(facts["valid_bits_per_char"], abs=2e-6)


@pytest.mark.parametrize("model", ["run", "line_run"])
def test_score_and_compare_have_the_same_defaults(charnn, request, model):
    trained = request.getfixturevalue(model)
    write_held_out(trained)
    scored, compared = of_score(charnn, trained), of_comparison(charnn, trained, trained)
    assert scored["protocol"] == compared["protocol"] == "--unit line --state reset"
    for found in compared["models"]:
        assert found["perplexity"] == pytest.approx(scored["perplexity"], abs=1e-6)
    carried = of_score(charnn, trained, "--state", "carry")
    assert carried["protocol"] == "--unit line --state carry"
    assert abs(carried["perplexity"] - scored["perplexity"]) > 1e-3
    assert of_comparison(charnn, trained, trained, "--state", "carry")["models"][0]["perplexity"] == pytest.approx(
        carried["perplexity"], abs=1e-6
    )


def test_each_figure_stands_beside_its_protocol(charnn, run):
    write_held_out(run)
    lines = Path("held_out.txt").read_text(encoding="utf-8").count("\n") + 1
    each = f"\n{lines} lines, each from the initial state; --state carry reads them as one text\n"
    assert each in charnn("score", "-m", run, "held_out.txt").out
    assert each in charnn("compare", run, run, "held_out.txt").out
    assert each.strip() in charnn("score", "-m", run, "held_out.txt", "--format", "jsonl").err
    running = "\none running text, hidden state carried; --unit line reads each line from the initial state\n"
    assert running in charnn("score", "-m", run, "held_out.txt", "--unit", "stream").out
    assert running in charnn("compare", run, run, "held_out.txt", "--unit", "stream").out
    assert "\n2 texts, each from" in charnn("score", "-m", run, "--text", "a", "--text", "b").out
    assert "held-out text read as running text" in charnn("info", run).out.replace("\n", " ")


def test_protocols_are_named_by_options_and_say_how_to_get_the_other():
    carried = ScoreOptions(unit="document", state="carry")
    assert protocol_of(carried) == "--unit document --state carry"
    assert protocol_in_words(carried, 1200).startswith(
        "1,200 documents as one text, hidden state carried; --state reset"
    )
    assert protocol_in_words(ScoreOptions(), 1) == "1 line, from the initial state"
    assert "--unit stream reads them" in protocol_in_words(ScoreOptions(), 2, reads_backward=True)
    assert validation_protocol("stream") == protocol_of(ScoreOptions(unit="stream"))
    part = validation_in_words("stream", num_tokens=2000, num_held_out=14_228)
    assert part.startswith("2,000 of 14,228 tokens, in pieces: held-out text read as running text, as score")


def test_a_running_text_is_compared_by_its_lines(charnn, run):
    text = FABLES.read_text(encoding="utf-8")[12_000:13_000]
    Path("text.txt").write_text(text, encoding="utf-8")
    Path("other").mkdir()
    other = train_quietly(Path("other"), "the cat sat\n" * 40, "--steps", 2, "--batch-size", 2, "--bptt", 8)
    found = json.loads(charnn("compare", other, run, "text.txt", "--unit", "stream", "--format", "json").out)
    lines = text.split("\n")
    assert found["num_lines"] == len(lines)
    assert found["second_better"]
    for position in found["second_better"]:
        line = lines[position["line"] - 1] + "\n"
        assert line[position["start"] :].startswith(position["text"])
        assert line[: position["start"]].endswith(position["context"])
    refused = charnn("compare", run, run, "text.txt", "--unit", "stream", "--state", "carry")
    assert (refused.status, "--state: has no effect without --unit line, document or tune" in refused.err) == (2, True)


def test_segments_of_a_running_text_are_numbered_on(charnn, run, monkeypatch):
    text = "".join(f"the fox and the number {number}\n" for number in range(30))
    Path("text.txt").write_text(text, encoding="utf-8")
    options = ("compare", run, run, "text.txt", "--unit", "stream", "--format", "json")
    whole = json.loads(charnn(*options).out)
    monkeypatch.setattr("charnn.text.decoding.CHUNK_BYTES", 64)
    parts = json.loads(charnn(*options).out)
    assert whole["num_lines"] == parts["num_lines"] == 30
    assert parts["models"][0]["nats"] == pytest.approx(whole["models"][0]["nats"], abs=1e-6)
