"""Tests of traces: the same results as the engine, and the gates of the equations."""

import numpy as np
import pytest

from charnn.cells import CELL_NAMES
from charnn.cells.attention import project
from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.inference.engine import Engine
from charnn.inference.tracing import GATE_NAMES, TracingEngine
from tests.conftest import ramp_weights


def traced(cell, **options):
    shape = Architecture(cell, vocab_size=11, embedding_size=6, hidden_size=6, num_layers=2, **options)
    generator = np.random.default_rng(5)
    weights = {name: generator.normal(size=size).astype(np.float32) for name, size in expected_shapes(shape).items()}
    ids = generator.integers(0, 11, (20, 2))
    engine = Engine(shape, weights)
    expected = engine.forward(ids, engine.initial_state(2))
    engine = TracingEngine(shape, weights)
    return shape, weights, ids, expected, engine.trace(ids, engine.initial_state(2))


@pytest.mark.parametrize("skip", [0, 3])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_trace_has_the_results_of_the_engine_and_all_gates(cell, skip):
    if cell == "mogrifier" and skip:
        pytest.skip("a mogrifier has no skip connection")
    _, _, _, (outputs, state), trace = traced(cell, skip=skip)
    np.testing.assert_array_equal(trace.outputs, outputs)
    for layer, last in zip(trace.layers, state, strict=False):
        for part, expected in zip(layer.states, last, strict=True):
            np.testing.assert_array_equal(part[-1], expected)
        is_plain = cell == "depth-lstm" and layer is trace.layers[0]
        assert tuple(layer.gates) == GATE_NAMES.get("lstm" if is_plain else cell, ())
        for gate in layer.gates.values():
            assert gate.shape == (20, 2, 6)
            assert 0 <= gate.min() < gate.max() <= 1


def test_the_gates_of_an_lstm_make_its_memory_cells():
    _, _, _, _, trace = traced("lstm")
    for layer in trace.layers:
        memory, output = layer.memory, layer.states[0]
        np.testing.assert_allclose(output, layer.gates["output"] * np.tanh(memory), rtol=1e-6)
        kept = layer.gates["forget"][1:] * memory[:-1]
        candidate = (memory[1:] - kept) / np.maximum(layer.gates["input"][1:], 1e-6)
        assert np.abs(candidate).max() <= 1 + 1e-3


def test_the_gates_of_a_gru_are_those_of_its_equations():
    _, weights, ids, _, trace = traced("gru")
    hidden, gates = trace.layers[0].states[0], trace.layers[0].gates
    inputs = weights["embedding.weight"][ids[1]]
    projected = inputs @ weights["layers.0.weight_ih"].T + weights["layers.0.bias_ih"]
    recurrent = hidden[0] @ weights["layers.0.weight_hh"].T + weights["layers.0.bias_hh"]
    expected = 1 / (1 + np.exp(-(projected + recurrent)))
    np.testing.assert_allclose(gates["reset"][1], expected[:, :6], rtol=1e-5)
    np.testing.assert_allclose(gates["update"][1], expected[:, 6:12], rtol=1e-5)
    assert trace.layers[0].memory is None


@pytest.mark.parametrize("cut", [1, 7, 150])
def test_the_weights_of_attention_are_by_position(cut):
    """They are worked out by a softmax of each token alone, over blocks of the equations and in two parts of a text."""
    shape = Architecture("lstm", 11, 6, 8, 1, attention_window=5, attention_size=3)
    engine = TracingEngine(shape, ramp_weights(shape))
    ids = np.arange(300).reshape(150, 2) ** 2 % 11
    whole = engine.trace(ids, engine.initial_state(2))
    assert whole.attention is not None
    np.testing.assert_array_equal(whole.attention.outputs, whole.layers[0].states[0])
    weights = engine.attention
    query, key, _, _ = project(weights, whole.attention.outputs, np)
    shifted = np.concatenate((np.zeros_like(key[:1]), key[:-1]))
    expected = np.zeros((2, 150, 154))
    for stream, time in np.ndindex(2, 150):
        seen = np.arange(max(0, time - 4), time + 1)
        scores = shifted[seen, stream] @ query[time, stream] / 3**0.5
        expected[stream, time, 4 + seen] = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(whole.attention.weights, expected, atol=1e-5)
    by_distance = whole.attention.by_distance
    assert by_distance.shape == (2, 150, 5)
    np.testing.assert_allclose(by_distance.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(by_distance[:, 20, 3], expected[:, 20, 4 + 17], atol=1e-5)
    parts = [engine.trace(ids[:cut], engine.initial_state(2))]
    parts += [engine.trace(ids[cut:], parts[0].state)] if cut < 150 else []
    joined = np.concatenate([part.attention.by_distance for part in parts], axis=1)
    np.testing.assert_allclose(joined, by_distance, atol=1e-5)


def test_a_network_without_attention_has_no_weights():
    assert traced("gru")[-1].attention is None
