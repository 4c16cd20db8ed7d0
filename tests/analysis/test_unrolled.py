"""An unrolled network has the log probabilities of scoring, and the vectors of the engine."""

import json

import numpy as np
import pytest

import charnn as library
from charnn.analysis.subjects import read_subjects
from charnn.analysis.unrolled import MAX_STEPS
from charnn.config import InspectOptions

TEXT = "The fox sat"


def test_the_log_probabilities_are_those_of_scoring(charnn, run):
    (found,) = library.inspect("unrolled", run, text=(TEXT,)).texts
    scored = charnn("score", "-m", run, "--text", TEXT, "--per-token", "--format", "jsonl")
    record = json.loads(scored.out.splitlines()[0])
    tokens = record["tokens"][: len(TEXT)]
    assert [step.log_prob_nats for step in found.steps] == pytest.approx(
        [each["log_prob"] for each in tokens], abs=1e-6
    )
    assert [step.rank for step in found.steps] == [each["rank"] for each in tokens]
    assert [step.next_token.replace("␣", " ") for step in found.steps] == list(TEXT)


def test_every_number_is_that_of_the_network(run):
    (found,) = library.inspect("unrolled", run, text=(TEXT,)).texts
    (subject,) = read_subjects([run], InspectOptions())
    engine, vocabulary = subject.engine, subject.model.tokenizer.vocabulary
    ids = np.concatenate(([vocabulary.boundary_id], subject.model.tokenizer.encode(TEXT)[:-1]))
    assert [step.id for step in found.steps] == ids.tolist()
    state = engine.initial_state()
    for position, id in enumerate(ids):
        logits, state = engine.step(np.array([id]), state)
        probabilities = np.exp(logits[0] - logits[0].max()) / np.exp(logits[0] - logits[0].max()).sum()
        likely = found.steps[position].likely
        assert [each for _, each in likely] == pytest.approx(np.sort(probabilities)[:-6:-1].tolist(), rel=1e-4)
        np.testing.assert_allclose(found.layers[0].states[0][position], state[0][0], atol=1e-6)
        np.testing.assert_allclose(found.layers[0].memory[position], state[0][1], atol=1e-6)
    order = subject.model.architecture.embedding_order
    projected = found.vectors @ subject.model.weights["layers.0.weight_ih"].T
    assert found.vectors.shape == (len(TEXT), 8)
    assert order > 1  # so that the vectors of n-grams are part of the sum
    expected, _ = engine._project_ids(ids[:, None], engine.initial_state())
    bias = subject.model.weights.get("layers.0.bias_ih", 0)
    np.testing.assert_allclose(projected + bias, expected[:, 0], atol=1e-4)


def test_long_texts_are_cut_with_a_message_and_no_text_is_needed(charnn, run):
    result = charnn("inspect", "unrolled", run, "--text", "a" * 20, "--format", "jsonl")
    steps = [json.loads(line) for line in result.out.splitlines()]
    assert sum(record["table"] == "steps" for record in steps) == MAX_STEPS
    assert "of 20 tokens the first 12 are shown" in result.err
    (found,) = library.inspect("unrolled", run).texts
    assert 1 <= len(found.steps) <= MAX_STEPS
