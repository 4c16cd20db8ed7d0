import numpy as np
import pytest
import torch

from charnn.cells import CELL_NAMES
from charnn.config import Architecture
from charnn.inference import input_projection
from charnn.inference.engine import Engine, log_softmax, target_log_probs
from charnn.training.network.network import Network
from tests.conftest import ARCHITECTURES, ramp_weights


def pair(architecture, scale=0.4):
    weights = ramp_weights(architecture, scale)
    network = Network(architecture)
    network.load_arrays(weights)
    return Engine(architecture, weights), network


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_thousand_steps_agree_with_the_torch_network(cell, num_layers):
    architecture = Architecture(cell, 65, 32, 64, num_layers, mogrifier_rounds=5 * (cell == "mogrifier"))
    engine, network = pair(architecture, scale=0.15)
    ids = (np.arange(1000) ** 2) % 65
    with torch.no_grad():
        logits, _ = network(torch.from_numpy(ids)[:, None], network.initial_state(1))
    expected = torch.log_softmax(logits.double(), dim=-1)[:, 0].numpy()
    state, found = engine.initial_state(1), []
    for id in ids:
        step_logits, state = engine.step(np.array([id]), state)
        found.append(log_softmax(step_logits)[0])
    assert np.abs(np.array(found) - expected).max() < 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reading_a_run_of_tokens_is_reading_them_one_by_one(architecture):
    engine, _ = pair(architecture)
    ids = np.arange(30).reshape(10, 3) % architecture.vocab_size
    outputs, last = engine.forward(ids, engine.initial_state(3))
    state = engine.initial_state(3)
    for row, output in zip(ids, outputs, strict=True):
        logits, state = engine.step(row, state)
        np.testing.assert_allclose(engine.logits(output), logits, atol=1e-5)
    for layer, expected in zip(state, last, strict=True):
        for part, wanted in zip(layer, expected, strict=True):
            np.testing.assert_allclose(part, wanted, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_vocabulary_too_large_for_a_table_gives_the_same(architecture, monkeypatch):
    with_table, _ = pair(architecture)
    monkeypatch.setattr(input_projection, "LARGEST_TABLE", 0)
    without, _ = pair(architecture)
    assert without._tables is None
    ids = np.array([1, 2, 3])
    found, _ = without.step(ids, without.initial_state(3))
    expected, _ = with_table.step(ids, with_table.initial_state(3))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_tied_weights_serve_twice():
    engine, network = pair(Architecture("gru", 11, 8, 8, 1, tie_weights=True))
    logits, _ = engine.step(np.array([4]), engine.initial_state(1))
    expected, _ = network(torch.tensor([[4]]), network.initial_state(1))
    np.testing.assert_allclose(logits, expected[0].detach().numpy(), atol=1e-5)


def test_probabilities_sum_to_one_whatever_the_logits():
    logits = np.array([[1e4, 0, -1e4], [0.1, 0.2, 0.3], [-50, -50, -50]], dtype=np.float32)
    np.testing.assert_allclose(np.exp(log_softmax(logits)).sum(axis=-1), 1, atol=1e-12)


def test_the_log_probability_of_a_target_is_that_of_the_distribution():
    logits = np.sin(np.arange(60, dtype=np.float32)).reshape(4, 3, 5) * 9
    targets = np.arange(12).reshape(4, 3) % 5
    expected = np.take_along_axis(log_softmax(logits), targets[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(target_log_probs(logits, targets), expected, atol=1e-5)
