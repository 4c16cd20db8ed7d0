import json

import numpy as np
import pytest

from charnn.analysis.exposure_bias import bands, roll_out
from charnn.config import Architecture
from charnn.inference.engine import Engine, log_softmax
from tests.conftest import FABLES, ramp_weights


def test_bands_grow_fourfold():
    assert bands(100) == [(1, 1), (2, 4), (5, 16), (17, 64), (65, 100)]
    assert bands(1) == [(1, 1)]
    assert bands(4) == [(1, 1), (2, 4)]


def test_losses_are_those_of_reading_true_or_own_tokens():
    # A network that is sure of what it writes: always the token after the last, round and round. The text goes the other way.
    shape = Architecture("rnn", 5, 5, 5, 1)
    weights = {name: np.zeros_like(array) for name, array in ramp_weights(shape).items()}
    weights["embedding.weight"] = 20 * np.eye(5, dtype=np.float32)
    weights["layers.0.weight_ih"] = np.eye(5, dtype=np.float32)
    weights["output.weight"] = 20 * np.roll(np.eye(5, dtype=np.float32), 1, axis=0)
    text = np.arange(60)[::-1] % 5
    found = roll_out(Engine(shape, weights), text, length=10, ngrams=None)
    assert found.own == pytest.approx(np.zeros(10), abs=1e-6)
    assert found.true == pytest.approx(np.full(10, 20.0), abs=1e-6)
    # Its own token is 2 ahead of the true one after the first, 4 after the second, ...: it is there again each fifth time.
    assert found.true_after_own[0] == pytest.approx(20.0, abs=1e-6)
    meets = [place for place in range(10) if found.true_after_own[place] < 1]
    assert meets == [4, 9]
    assert found.judged_own is None


def test_the_true_loss_is_that_of_the_text_read_on():
    shape = Architecture("lstm", 11, 6, 8, 2)
    engine = Engine(shape, ramp_weights(shape, 0.8))
    text = np.arange(40) ** 2 % 11
    found = roll_out(engine, text, length=4, ngrams=None)
    assert found.num_rollouts == 1 + 40 - 4 - 36
    logits = engine.logits(engine.forward(text[:, None], engine.initial_state(1))[0])[:, 0]
    log_probs = log_softmax(logits)
    expected = [-log_probs[36 + place - 1, text[36 + place]] for place in range(4)]
    assert found.true == pytest.approx(expected, abs=1e-5)


def test_a_model_finds_its_own_text_likelier_than_the_truth_after_it(charnn, run):
    arguments = ("score", "-m", run, FABLES, "--unit", "stream", "--rollout", 40, "--format", "jsonl")
    first, again = charnn(*arguments), charnn(*arguments)
    assert first.status == 0, first.err
    assert first.out == again.out
    records = [json.loads(line) for line in first.out.splitlines()]
    assert [(record["from"], record["to"]) for record in records] == [(1, 1), (2, 4), (5, 16), (17, 40), (1, 40)]
    whole = records[-1]
    assert whole["true"] < whole["true_after_own"]
    assert whole["own"] < whole["true_after_own"]
    assert whole["judged_true"] > 0
    assert records[0]["true"] == pytest.approx(
        records[0]["true_after_own"]
    )  # the first token has true ones before it only
    bits = json.loads(charnn(*arguments, "--log-base", "2").out.splitlines()[-1])
    assert bits["own"] == pytest.approx(whole["own"] / np.log(2))
    table = charnn(*arguments[:-2])
    assert table.out.startswith("mean loss of reference and generated tokens in nats per token, 256 rollouts")
    assert "17 to 40" in table.out
    assert charnn(*arguments[:-1], "tsv").out.splitlines()[0].split("\t")[:3] == ["from", "to", "true"]


def test_rollouts_need_a_text_long_enough_and_a_model_of_running_text(charnn, run, line_run):
    short = charnn("score", "-m", run, "--text", "the fox", "--unit", "stream", "--rollout", 40)
    assert "--rollout: found 40 tokens to write, but the text has only 7" in short.err
    units = charnn("score", "-m", line_run, "--text", "abab", "--unit", "stream", "--rollout", 2)
    assert "--rollout: found a model with --unit line, but it needs a stream model" in units.err
    idle = charnn("score", "-m", run, "--text", "the fox", "--rollout", 2)
    assert "--rollout: has no effect without --unit stream" in idle.err
