"""Tests of traces: the same results as the engine, and the gates of the equations."""

import numpy as np
import pytest

from charnn.cells import CELL_NAMES
from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.inference.engine import Engine
from charnn.inference.tracing import GATE_NAMES, TracingEngine


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
