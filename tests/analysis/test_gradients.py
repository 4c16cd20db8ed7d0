"""Tests of the inspection of gradients: gates, clipping, effective memory, and what a run began with."""

import json
import math

import numpy as np
import pytest
import torch

import charnn as library
from charnn.analysis import gradient_norms, gradients
from charnn.analysis.clipping import read_clipping
from charnn.analysis.effective_memory import ContextLosses, context_losses
from charnn.analysis.gate_saturation import gate_saturation
from charnn.config import Architecture
from charnn.inference.engine import Engine, target_log_probs
from charnn.inference.tracing import TracingEngine
from charnn.storage.model_directory import read_model, read_ngrams
from charnn.text.corpus import open_ids
from charnn.text.vocabulary import Vocabulary
from charnn.training.held_out import HeldOutText
from charnn.training.network.network import Network
from charnn.training.run.session import initialized_network
from tests.conftest import ramp_weights, train_quietly


def test_untrained_weights_are_those_that_training_begins_with(tmp_path):
    options = ("--steps", 1, "--optimizer", "sgd", "--learning-rate", 1e-9, "--clip-norm", 1, "--seed", 7)
    cell = ("--cell", "lstm", "--num-layers", 2, "--dropout", 0.2, "--dropout-kind", "variational", "--forget-bias", 2)
    run = train_quietly(tmp_path, "ab\nabb\nabbb\n" * 60, *options, *cell, "--batch-size", 4, "--bptt", 16)
    model = read_model(run)
    untrained = initialized_network(model.config).arrays()
    for name, array in model.weights.items():
        if not name.startswith("output."):  # divided by the fitted temperature
            np.testing.assert_allclose(untrained[name], array, atol=1e-7, err_msg=name)
    before = torch.random.get_rng_state()
    initialized_network(model.config)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("unit", ["stream", "line"])
def test_gates_are_counted_token_by_token(unit):
    shape = Architecture("lstm", vocab_size=10, embedding_size=3, hidden_size=5, num_layers=2)
    weights = {name: 6 * array for name, array in ramp_weights(shape).items()}
    engine = TracingEngine(shape, weights)
    ids = np.array([3, 1, 4, 1, 5, 0, 2, 6, 5, 3, 0, 5, 8, 0])
    found = gate_saturation(engine, ids, unit=unit, boundary_id=0)
    units = [ids] if unit == "stream" else [ids[:6], ids[6:11], ids[11:]]
    traces = [engine.trace(np.array([0, *each[:-1]])[:, None], engine.initial_state(1)) for each in units]
    assert [(each.layer, each.gate) for each in found] == [
        (layer, gate) for layer in (1, 2) for gate in ("forget", "input", "output")
    ]
    for each in found:
        values = np.concatenate([trace.layers[each.layer - 1].gates[each.gate][:, 0] for trace in traces])
        np.testing.assert_allclose(each.closed, (values < 0.1).mean(axis=0))
        np.testing.assert_allclose(each.open, (values > 0.9).mean(axis=0))
    assert any(0 < each.open.mean() < 1 for each in found)


def test_the_parts_of_a_long_stream_are_warmed_up():
    shape = Architecture("gru", vocab_size=10, embedding_size=3, hidden_size=5, num_layers=1)
    weights = {name: 4 * array for name, array in ramp_weights(shape).items()}
    engine = TracingEngine(shape, weights)
    ids = np.random.default_rng(1).integers(1, 10, 32 * 192)  # as many parts as are read, side by side
    found = gate_saturation(engine, ids, unit="stream", boundary_id=0)
    whole = engine.trace(np.array([0, *ids[:-1]])[:, None], engine.initial_state(1)).layers[0]
    is_counted = (np.arange(len(ids)) % 192 >= 64) | (np.arange(len(ids)) < 192)
    for each in found:
        expected = (whole.gates[each.gate][is_counted, 0] > 0.9).mean(axis=0)
        np.testing.assert_allclose(each.open, expected, atol=2 / is_counted.sum())


def progressed(step, norm, fraction):
    return json.dumps({"event": "progressed", "step": step, "gradient_norm": norm, "clipped_fraction": fraction})


def test_the_fraction_of_clipped_steps_weighs_records_by_their_steps(run):
    lines = [
        progressed(10, 2.0, 0.5),
        progressed(30, 1.0, 0.1),
        json.dumps({"event": "evaluated", "step": 30}),
        progressed(40, 9.0, 1.0),
        json.dumps({"event": "rolledback", "step": 40, "to_step": 30}),
        progressed(50, 0.5, 0.0),
        '{"event": "progre',
    ]
    (run / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = read_clipping(run, read_model(run).config)
    assert found.steps.tolist() == [10, 30, 50]
    assert found.norms.tolist() == [2.0, 1.0, 0.5]
    assert found.clipped_fraction == pytest.approx((10 * 0.5 + 20 * 0.1) / 50)
    assert found.clip_norm == 1
    (run / "metrics.jsonl").write_text("", encoding="utf-8")
    assert read_clipping(run, read_model(run).config) is None
    (run / "metrics.jsonl").unlink()
    assert read_clipping(run, read_model(run).config) is None


def losses_of(run, num_tokens=None):
    model = read_model(run)
    network = Network(model.architecture)
    network.load_arrays(model.weights)
    vocabulary = model.tokenizer.vocabulary
    ids = open_ids(run / "valid.bin", model.tokenizer)[:num_tokens]
    ngrams = read_ngrams(run, len(vocabulary), tokenizer_sha256=model.tokenizer_sha256)
    text = HeldOutText.of(ids, vocabulary, unit=model.tokenizer.unit)
    return model, ngrams, text, context_losses(network, ngrams, text, vocabulary)


@pytest.mark.parametrize("name", ["run", "line_run"])
def test_the_losses_with_all_of_the_context_are_the_results_of_the_run(name, request):
    model, _, text, (network, ngrams) = losses_of(request.getfixturevalue(name))
    results = model.config.results
    assert network.lengths[-1] is None
    assert network.losses_nats[-1] == pytest.approx(results.valid_loss_nats, abs=1e-6)
    assert ngrams.losses_nats[-1] == pytest.approx(results.ngram_loss_nats, abs=1e-6)
    assert ngrams.model == f"{results.ngram_order}-gram"
    assert network.num_positions[-1] == len(text)
    assert network.losses_nats[0] > network.losses_nats[-1]
    longest = {"run": 1024, "line_run": 4}[name]  # a line has up to 4 tokens, of which the boundary before is the first
    assert (
        network.lengths[:-1]
        == tuple(2**exponent for exponent in range(11) if 2**exponent <= longest)[: len(network.lengths) - 1]
    )


def test_positions_with_little_context_share_a_batch_only_as_far_as_their_memories_of_attention_are_small(monkeypatch):
    shape = Architecture("gru", 5, 3, 4, 1, attention_window=1000, attention_size=2)
    network, vocabulary = Network(shape), Vocabulary(tuple("\nabcd"), (9,) * 5, boundary_id=0, unknown_id=None)
    network.load_arrays(ramp_weights(shape))
    numbers, initial_state = [], network.initial_state
    monkeypatch.setattr(network, "initial_state", lambda rows: numbers.append(rows) or initial_state(rows))
    text = HeldOutText.of(np.arange(1500) ** 2 % 5, vocabulary, unit="stream")
    (found,) = context_losses(network, None, text, vocabulary)
    assert found.num_positions[0] == 1500
    assert 1000 * max(numbers) < 1 << 15


@pytest.mark.parametrize("length", [1, 4])
def test_the_loss_with_little_context_is_that_of_reading_only_that(run, length):
    model, ngrams, text, (of_network, of_ngrams) = losses_of(run, num_tokens=90)
    engine, ids = Engine.of(model), text.tokens
    boundary = model.tokenizer.vocabulary.boundary_id
    network_nats, ngram_nats = [], []
    for position, target in enumerate(ids):
        context = [boundary, *ids[:position]][-length:]
        outputs, _ = engine.forward(np.array(context)[:, None], engine.initial_state(1))
        network_nats.append(-float(target_log_probs(engine.logits(outputs[-1, 0]), target)))
        known = [] if position == 0 and ngrams.order == 1 else context
        ngram_nats.append(-math.log(ngrams.distribution(known)[0][target]))
    place = of_network.lengths.index(length)
    assert of_network.losses_nats[place] == pytest.approx(np.mean(network_nats), abs=1e-5)
    assert of_ngrams.losses_nats[place] == pytest.approx(np.mean(ngram_nats), abs=1e-6)
    assert of_network.margins_nats[place] > 0


def test_the_effective_length_is_where_the_loss_stays_down():
    lengths, zeros = (1, 2, 4, 8, None), np.zeros(5)

    def effective(*losses):
        return ContextLosses("network", lengths, np.array(losses), zeros, (9,) * 5).effective_length

    assert effective(3, 2.5, 2.005, 2.001, 2) == 4
    assert effective(3, 2.0, 2.5, 2.001, 2) == 8
    assert effective(3, 2.5, 2.5, 2.5, 2) is None
    assert effective(2, 2, 2, 2, 2) == 1


def test_the_factor_per_token_is_the_slope_beyond_the_nearest_quarter():
    median = 3 * 0.9 ** np.arange(41.0)
    median[:10] = 100
    assert gradients.decay_factor(median) == pytest.approx(0.9)
    assert gradients.decay_factor(0.01 ** np.arange(41.0)) == pytest.approx(0.01)
    assert gradients.decay_factor(np.array([1.0, 0.5])) is None
    assert gradients.shown_distances(12) == [0, 1, 2, 4, 8, 11]
    assert gradients.shown_distances(2) == [0, 1]


@pytest.fixture
def few(monkeypatch):
    """Look only a few tokens back."""
    monkeypatch.setattr(gradient_norms, "NUM_POSITIONS", 24)


@pytest.mark.usefixtures("few")
def test_the_tables_are_the_arrays(run):
    found = library.inspect("gradients", run, tokens=300)
    (one,) = found.runs
    assert [(decay.weights, decay.gradients.part) for decay in one.decays] == [
        (weights, part) for weights in ("untrained", "trained") for part in ("hidden", "memory")
    ]
    summary, norms, gates, contexts = ([*table.records()] for table in found.tables())
    assert summary[0]["trained_factor_per_token"] == one.decays[2].factor_per_token
    assert summary[0]["clipped_fraction"] == one.clipping.clipped_fraction
    for row in norms:
        decay = next(
            each for each in one.decays if (each.weights, each.gradients.part) == (row["weights"], row["state"])
        )
        known = decay.gradients.norms[row["distance_tokens"]]
        known = known[np.isfinite(known)]
        assert row["num_positions"] == len(known)
        assert row["median_norm"] == pytest.approx(np.median(known))
        assert row["lower_quartile_norm"] <= row["median_norm"] <= row["upper_quartile_norm"]
    expected = gradients.shown_distances(len(one.decays[1].median))[1:]
    rows = [row for row in norms if (row["weights"], row["state"]) == ("trained", "memory")]
    assert [row["distance_tokens"] for row in rows] == expected
    assert [row["closed_fraction"] for row in gates] == [
        pytest.approx(gate.closed.mean()) for weights in one.gates.values() for gate in weights
    ]
    assert [row["context_tokens"] for row in contexts if row["model"] == "network"] == [*one.contexts[0].lengths]


@pytest.mark.usefixtures("few")
def test_a_run_without_ngrams_metrics_or_gates(tmp_path):
    run = train_quietly(
        tmp_path, "abc\nabbc\n" * 60, "--steps", 2, "--cell", "rnn", "--ngram-order", 0, "--clip-norm", 0
    )
    (run / "metrics.jsonl").unlink()
    (one,) = library.inspect("gradients", run).runs
    assert one.clipping is None
    assert one.gates == {"untrained": [], "trained": []}
    assert [each.model for each in one.contexts] == ["network"]
    assert library.inspect("gradients", run).tables()[0].rows[0][4:6] == (None, None)
