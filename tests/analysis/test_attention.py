"""Where attention looks: means that sum to 1, a network made by hand, and the loss without what attention adds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import charnn as library
from charnn.analysis.attention import MAX_SHOWN, Attention, AttentionSummary, attended_text, summarize
from charnn.analysis.inspections import applicable
from charnn.analysis.subjects import Subject, read_subjects
from charnn.config import InspectOptions
from charnn.errors import ModelError
from charnn.inference.engine import Engine, target_log_probs
from tests.analysis.attention_models import add_attention, finding_subject


def loss_of(engine, subject):
    """Return the loss of a text that is read from the initial state."""
    outputs, _ = engine.forward(subject.inputs[:, None], engine.initial_state())
    return -target_log_probs(engine.logits(outputs)[:, 0], subject.ids).mean()


def test_the_losses_are_those_of_the_network_and_of_one_whose_attention_adds_nothing(run):
    (subject,) = read_subjects([add_attention(run)], InspectOptions(tokens=700))
    found = summarize(subject)
    weights = subject.model.weights
    silent = weights | {"attention.output": np.zeros_like(weights["attention.output"])}
    assert found.num_tokens == 700
    assert found.loss_nats == pytest.approx(loss_of(subject.engine, subject), abs=1e-5)
    without = loss_of(Engine(subject.model.architecture, silent), subject)
    assert found.loss_without_nats == pytest.approx(without, abs=1e-5)
    assert abs(found.loss_nats - found.loss_without_nats) > 0.01
    assert found.added_ratio > 0.1
    nothing = summarize(replace(subject, model=replace(subject.model, weights=silent)))
    assert nothing.added_ratio == 0
    assert nothing.loss_nats == nothing.loss_without_nats == pytest.approx(without, abs=1e-5)


@pytest.mark.parametrize(("kind", "tokens"), [("stream", 1100), ("line", 300)])
def test_weights_by_distance_sum_to_one(run, line_run, kind, tokens):
    path = add_attention(run if kind == "stream" else line_run)
    (subject,) = read_subjects([path], InspectOptions(tokens=tokens))
    found = summarize(subject)
    assert found.num_tokens == len(subject.ids) // 2 * 2 if kind == "stream" else len(subject.ids)
    assert found.weights.shape == (12,)
    assert found.weights.sum() == pytest.approx(1, abs=1e-5)
    assert found.even_weights.sum() == pytest.approx(1)
    assert 0 < found.entropy_bits < found.even_entropy_bits <= np.log2(12)
    bands = found.bands()
    assert [band[:2] for band in bands] == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 11)]
    assert sum(band[2] for band in bands) == pytest.approx(1, abs=1e-5)


def test_lines_are_read_each_from_the_initial_state(line_run):
    """Of lines of at most four tokens and what begins them, no position is more than four tokens back."""
    (subject,) = read_subjects([add_attention(line_run)], InspectOptions())
    found = summarize(subject)
    assert found.weights[5:].tolist() == [0] * 7
    assert found.even_weights[5:].tolist() == [0] * 7
    assert found.weights[4] > 0


@pytest.mark.parametrize(("window", "last"), [(2, (1, 1)), (3, (2, 2)), (256, (128, 255)), (257, (256, 256))])
def test_the_bands_end_with_the_window(window, last):
    weights = np.full(window, 1 / window)
    bands = AttentionSummary("a", window, 1, weights, weights, 1, 1, 1, 1, 1).bands()
    assert bands[-1][:2] == last
    assert [band[0] for band in bands[1:]] == [band[1] + 1 for band in bands[:-1]]
    assert sum(band[2] for band in bands) == pytest.approx(1)


def test_the_weight_is_where_the_same_token_was_followed_by_something(run):
    """After the second b only the position of c, which followed the first, has a key that matches."""
    subject = finding_subject(run, "abcdebc")
    found = attended_text(subject, subject.ids)
    tokens = [step.token for step in found.steps]
    assert tokens[1:] == list("abcdeb")
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-5)
    assert np.triu(found.weights, 1).max() == 0
    last = found.steps[-1]
    assert last.strongest[0][:2] == (3, "c")
    assert last.strongest[0].weight == found.weights[6, 3] > 0.999
    assert str(last.strongest[0]) == "3 back: c 1.000"
    assert (last.next_token, last.likeliest) == ("c", "c")
    assert last.log_prob_nats > -0.01
    assert last.log_prob_without_nats < -1  # the network alone expects the token that it has read
    assert last.probability == pytest.approx(np.exp(last.log_prob_nats))
    assert [len(step.strongest) for step in found.steps[:4]] == [1, 2, 3, 3]


def test_distances_are_those_of_the_tokens_that_match(run):
    """In a text of period 5, what followed the same token stands 4, 9, 14, ... tokens back."""
    subject = finding_subject(run, "abcde" * 60)
    found = summarize(subject)
    matching = np.zeros(40, dtype=bool)
    matching[4::5] = True
    assert found.weights[matching].sum() > 0.97
    assert found.loss_without_nats - found.loss_nats > 1
    assert 2**found.entropy_bits == pytest.approx(8, rel=0.2)  # the eight that match in a window of 40


def test_only_the_window_is_listed(run):
    subject = finding_subject(run, "abcdeabcde")
    narrow = replace(subject.model, architecture=replace(subject.model.architecture, attention_window=2))
    found = attended_text(Subject("narrow", narrow, subject.ids, "a text"), subject.ids)
    assert {each.distance for step in found.steps for each in step.strongest} == {0, 1}
    (row, *_) = Attention([], [found]).token_table().rows
    assert row[-3:] == ("0 back: " + found.steps[0].token + " 1.000", None, None)


def test_the_log_probabilities_are_those_of_scoring(charnn, run):
    text = "The fox sat"
    (found,) = library.inspect("attention", add_attention(run), text=text).texts
    scored = charnn("score", "-m", run, "--text", text, "--per-token", "--format", "jsonl")
    tokens = json.loads(scored.out.splitlines()[0])["tokens"][: len(text)]
    assert [step.log_prob_nats for step in found.steps] == pytest.approx(
        [each["log_prob"] for each in tokens], abs=1e-4
    )
    assert found.text == text


def test_a_model_without_attention_is_refused(charnn, run):
    result = charnn("inspect", "attention", run)
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        f"charnn: error: {run}: has no attention to inspect; name a model that was trained with --attention single\n"
    )
    with pytest.raises(ModelError, match="has no attention to inspect"):
        library.inspect("attention", run, text="a")


def test_all_leaves_it_out_for_models_without_attention(charnn, run, line_run, monkeypatch):
    monkeypatch.setattr("charnn.cli.commands.inspect.get_args", lambda _: ("embeddings", "attention"))
    left_out = f"{line_run}: has no attention, so that inspection is left out"
    result = charnn("inspect", "all", line_run, "--html", "page.html")
    assert result.status == 0
    assert left_out in result.err
    assert "attention:" not in result.out
    result = charnn("inspect", "all", add_attention(run), line_run, "--tokens", 50)
    assert result.status == 0
    assert left_out in result.err
    lines = [line for line in result.out.splitlines() if line.startswith("attention:")]
    assert len(lines) == 3
    assert applicable("embeddings", [line_run]) == [line_run]
    assert applicable("attention", [run, line_run]) == [run]


def test_records_and_a_page_of_a_text_that_is_cut(charnn, run):
    text = "The fox and the crow. " * 4
    result = charnn("inspect", "attention", add_attention(run), "--text", text, "--format", "jsonl", "--html", "a.html")
    assert result.status == 0, result.err
    assert f"of {len(text)} tokens the first {MAX_SHOWN} are shown" in result.err
    records = [json.loads(line) for line in result.out.splitlines()]
    tables = {name: [each for each in records if each["table"] == name] for name in ("summary", "distances", "tokens")}
    assert len(records) == sum(map(len, tables.values()))
    assert (len(tables["summary"]), len(tables["distances"]), len(tables["tokens"])) == (1, 5, MAX_SHOWN)
    (summary,) = tables["summary"]
    assert summary["difference_nats"] == pytest.approx(summary["without_nats"] - summary["loss_nats"])
    assert sum(each["weight"] for each in tables["distances"]) == pytest.approx(1, abs=1e-5)
    assert tables["tokens"][0]["second"] is None
    assert tables["tokens"][0]["strongest"].startswith("0 back: ")
    assert "Attention: " in Path("a.html").read_text(encoding="utf-8")


def test_by_default_the_text_begins_with_a_line_and_needs_no_held_out_text_if_one_is_named(run, line_run):
    (found,) = library.inspect("attention", add_attention(run), tokens=500).texts
    (subject,) = read_subjects([run], InspectOptions())
    held_out = "".join(subject.tokens(subject.ids)).replace("␣", " ").replace("⏎", "\n")
    assert f"\n{found.text}" in f"\n{held_out}"
    assert len(found.steps) == MAX_SHOWN
    (found,) = library.inspect("attention", add_attention(line_run)).texts
    assert len(found.text) <= 4
    (run / "valid.bin").unlink()
    alone = library.inspect("attention", run, text="The fox")
    assert alone.summaries == []
    assert [table.name for table in alone.tables()] == ["tokens"]
