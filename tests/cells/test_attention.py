"""Attention over the past: the equations worked by hand, the window, the gradients, and the three ways to compute it."""

import math

import numpy as np
import pytest
import torch

from charnn.cells import CELL_NAMES
from charnn.cells.attention import BLOCK, attend, attention_shapes, memory_shapes
from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.inference.engine import Engine
from charnn.inference.numpy_steppers import FUSED, logit_bound
from charnn.inference.stepper import stepper_for
from charnn.inference.torch_engine import TorchEngine
from charnn.inference.torch_stepper import TorchStepper
from charnn.training.network.attention import Attention
from charnn.training.network.network import Network
from tests.conftest import ramp_weights

SHAPE = Architecture("lstm", 11, 6, 8, 1, attention_window=4, attention_size=3)


def weights_of(architecture, scale=0.6):
    return {
        name.removeprefix("attention."): (scale * np.sin(np.arange(math.prod(size)) + number)).reshape(size)
        for number, (name, size) in enumerate(attention_shapes(architecture).items())
    }


def nothing(architecture, num_streams=1):
    return tuple(np.zeros(size) for size in memory_shapes(architecture, num_streams))


def outputs_of(architecture, length, num_streams=1):
    size = (length, num_streams, architecture.output_size)
    return np.sin(0.7 * np.arange(math.prod(size)).astype(float) ** 1.1).reshape(size)


def test_three_steps_by_hand():
    """Two units, a head of one. The outputs (1, 0), (0, 1), (1, 0) are normalized to (1, -1), (-1, 1), (1, -1)."""
    outputs = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]])
    weights = {
        "norm_weight": np.ones(2),
        "norm_bias": np.zeros(2),
        "weight": np.array(
            [[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]
        ),  # query, key: the first; value: twice the second
        "bias": np.array([0.0, 0.0, 0.0, math.log(3)]),  # a gate of 3/4
        "output": np.array([[1.0], [-1.0]]),
    }
    shape = Architecture("lstm", 3, 2, 2, 1, attention_window=3, attention_size=1)
    found = attend(weights, outputs, nothing(shape), np)
    # queries 1, -1, 1; keys of the outputs before: 0, 1, -1; values -2, 2, -2
    e = math.e
    second = (1 * -2 + (1 / e) * 2) / (1 + 1 / e)  # scores 0 and -1
    third = (1 * -2 + e * 2 + (1 / e) * -2) / (1 + e + 1 / e)  # scores 0, 1, -1
    expected = [[1 - 1.5, 1.5], [0.75 * second, 1 - 0.75 * second], [1 + 0.75 * third, -0.75 * third]]
    np.testing.assert_allclose(found.outputs_TBH[:, 0], expected, atol=1e-4)  # the layer norm adds 1e-5 to the variance
    memory, is_filled, next_key = found.state
    np.testing.assert_allclose(memory[0], [[1, 2], [-1, -2]], atol=1e-4)
    np.testing.assert_array_equal(is_filled, [[1, 1]])
    np.testing.assert_allclose(next_key, [[1]], atol=1e-4)


def test_only_the_window_is_seen():
    weights, outputs = weights_of(SHAPE), outputs_of(SHAPE, 12)
    whole = attend(weights, outputs, nothing(SHAPE), np).outputs_TBH
    changed = outputs.copy()
    changed[3] += np.cos(np.arange(8))
    found = attend(weights, changed, nothing(SHAPE), np).outputs_TBH
    differs = np.abs(found - whole).max(axis=(1, 2)) > 1e-12
    # as a value at positions 3 to 6, and as the key of position 4, which is seen up to position 7
    assert differs.tolist() == [3 <= position <= 7 for position in range(12)]


@pytest.mark.parametrize("cut", [1, 2, 5, BLOCK, BLOCK + 1])
def test_the_memory_carries_a_text_from_one_call_to_the_next(cut):
    weights, outputs = weights_of(SHAPE), outputs_of(SHAPE, 2 * BLOCK + 9, 2)
    whole = attend(weights, outputs, nothing(SHAPE, 2), np)
    first = attend(weights, outputs[:cut], nothing(SHAPE, 2), np)
    second = attend(weights, outputs[cut:], first.state, np)
    found = np.concatenate((first.outputs_TBH, second.outputs_TBH))
    np.testing.assert_allclose(found, whole.outputs_TBH, atol=1e-9)
    for part, expected in zip(second.state, whole.state, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-9)
    assert all(np.allclose(block.sum(axis=-1), 1) for block in whole.weights)


def module_of(architecture, dropout=0.0):
    module = Attention(architecture, dropout).double()
    with torch.no_grad():
        for name, weight in weights_of(architecture).items():
            module.weights[name].copy_(torch.from_numpy(weight))
    return module


@pytest.mark.parametrize("length", [3, BLOCK + 5])
def test_the_layer_of_training_is_the_equations(length):
    outputs = outputs_of(SHAPE, length, 2)
    module, state = module_of(SHAPE), nothing(SHAPE, 2)
    for _ in range(2):  # from an empty memory, and from a full one
        expected = attend(weights_of(SHAPE), outputs, state, np)
        with torch.no_grad():
            found, last = module(torch.from_numpy(outputs), tuple(map(torch.from_numpy, state)))
        np.testing.assert_allclose(found, expected.outputs_TBH, atol=1e-9)
        for part, wanted in zip(last, expected.state, strict=True):
            np.testing.assert_allclose(part, wanted, atol=1e-9)
        state = expected.state


def test_gradients_are_finite_differences():
    module = module_of(SHAPE)
    names = list(module.weights)
    state = tuple(
        torch.from_numpy(part) for part in attend(weights_of(SHAPE), outputs_of(SHAPE, 3), nothing(SHAPE), np).state
    )

    def outputs_for(outputs, *weights):
        called = torch.func.functional_call(
            module, {f"weights.{name}": weight for name, weight in zip(names, weights, strict=True)}, (outputs, state)
        )
        return called[0]

    inputs = [torch.from_numpy(outputs_of(SHAPE, 6)), *(module.weights[name].detach() for name in names)]
    assert torch.autograd.gradcheck(outputs_for, tuple(each.clone().requires_grad_() for each in inputs))


def test_a_new_network_attends_to_nothing_yet():
    network = Network(SHAPE)
    outputs = network.outputs(torch.arange(10)[:, None], network.initial_state(1))
    plain, _ = network.layers[0](network.embedding(torch.arange(10)[:, None]), network.initial_state(1)[0])
    torch.testing.assert_close(outputs.raw_TBH, plain)


def test_in_training_what_is_attended_to_is_dropped_at_some_positions():
    module = module_of(SHAPE, 0.5)
    outputs = torch.from_numpy(outputs_of(SHAPE, 40))
    state = tuple(torch.from_numpy(part) for part in nothing(SHAPE))
    found, _ = module(outputs, state, torch.Generator().manual_seed(1))
    is_dropped = (found == outputs).all(dim=-1)
    assert 5 < is_dropped.sum() < 35
    again, _ = module(outputs, state, torch.Generator().manual_seed(1))
    assert torch.equal(found, again)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_two_thousand_tokens_in_numpy_agree_with_torch(cell):
    architecture = Architecture(
        cell, 23, 8, 16, 2, mogrifier_rounds=2 * (cell == "mogrifier"), attention_window=256, attention_size=16
    )
    weights = ramp_weights(architecture, 0.3)
    network, engine = Network(architecture), Engine(architecture, weights)
    network.load_arrays(weights)
    ids = (np.arange(2000) ** 2 // 7 % 23)[:, None]
    with torch.no_grad():
        expected = network(torch.from_numpy(ids), network.initial_state(1))[0][:, 0].numpy()
    stepper = stepper_for(engine, engine.initial_state())
    stepped = np.stack([stepper.step(row)[0].copy() for row in ids])
    assert np.abs(stepped - expected).max() < 1e-4
    outputs, _ = engine.forward(ids, engine.initial_state())
    assert np.abs(engine.logits(outputs)[:, 0] - expected).max() < 1e-4
    on_torch = TorchEngine(engine, device="cpu")
    outputs, _ = on_torch.forward(ids, on_torch.initial_state())
    assert np.abs(on_torch.logits(outputs)[:, 0] - expected).max() < 1e-4
    if cell in FUSED:
        stepper = TorchStepper(engine, engine.initial_state(), device="cpu", dtype=torch.float32)
        stepped = np.stack([stepper.step(row)[0] for row in ids[:600]])
        assert np.abs(stepped - expected[:600]).max() < 1e-4


@pytest.mark.parametrize("cell", FUSED)
def test_no_logit_passes_the_bound(cell):
    architecture = Architecture(cell, 11, 6, 8, 1, attention_window=5, attention_size=4)
    weights = ramp_weights(architecture, 2.0)
    weights["attention.output"] *= 20
    engine = Engine(architecture, weights)
    stepper = stepper_for(engine, engine.initial_state())
    largest = max(float(np.abs(stepper.step(np.array([time**2 % 11]))).max()) for time in range(200))
    without = Architecture(cell, 11, 6, 8, 1)
    plain = Engine(without, {name: engine.weights[name] for name in expected_shapes(without)})
    assert logit_bound(plain) < largest <= stepper.largest_logit  # so that the part of attention is needed


def test_a_stream_is_the_same_to_the_last_bit_whenever_it_was_begun_and_about_the_same_among_others():
    architecture = Architecture("lstm", 11, 6, 20, 1, attention_window=9, attention_size=8)
    engine = Engine(architecture, ramp_weights(architecture))
    alone, begun_anew = (stepper_for(engine, engine.initial_state()) for _ in range(2))
    among = stepper_for(engine, engine.initial_state(), 3)
    for time in range(50):
        id = time**2 % 11
        expected = alone.step(np.array([id]))[0]
        np.testing.assert_array_equal(begun_anew.step(np.array([id]))[0], expected)
        np.testing.assert_allclose(among.step(np.array([(id + 1) % 11, id, 5]))[1], expected, atol=1e-5)
        if time % 7 == 3:
            begun_anew = begun_anew.fork(begun_anew.state())
