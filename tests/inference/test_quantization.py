"""Weights of fewer bits, and the stepper on torch tensors, against NumPy in single precision."""

import numpy as np
import pytest
import torch

from charnn.config import Architecture
from charnn.inference.engine import Engine, log_softmax
from charnn.inference.numpy_steppers import FUSED
from charnn.inference.quantization import in_bf16, in_int8
from charnn.inference.stepper import stepper_for
from charnn.inference.torch_stepper import TorchStepper
from tests.conftest import ramp_weights

SIZES = [(8, 8), (65, 33), (64, 64), (100, 300), (257, 512)]


@pytest.mark.parametrize("num_streams", [1, 5])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("keep", "tolerance"), [(in_bf16, 1 / 128), (in_int8, 1 / 64)], ids=["bf16", "int8"])
def test_a_product_is_as_near_as_its_bits_allow(keep, tolerance, size, num_streams):
    generator = np.random.default_rng(1)
    matrix = generator.standard_normal(size, dtype=np.float32)
    columns = generator.standard_normal((size[1], num_streams), dtype=np.float32)
    results = np.full((size[0], num_streams), np.nan, dtype=np.float32)
    keep(matrix)(columns, results)
    bound = np.abs(matrix) @ np.abs(columns)
    assert (np.abs(results - matrix @ columns) <= tolerance * bound).all()


def test_a_row_of_zeros_stays_so_in_int8():
    results = np.ones((2, 1), dtype=np.float32)
    in_int8(np.array([[0, 0], [1, -2]], dtype=np.float32))(np.ones((2, 1), dtype=np.float32), results)
    np.testing.assert_allclose(results, [[0], [-1]], atol=0.02)


@pytest.mark.parametrize("keep", [in_bf16, in_int8], ids=["bf16", "int8"])
@pytest.mark.parametrize("cell", FUSED)
def test_a_network_of_fewer_bits_expects_nearly_the_same(cell, keep):
    architecture = Architecture(cell, 11, 6, 40, 2, embedding_order=3)
    engine = Engine(architecture, ramp_weights(architecture, 0.2))
    exact = stepper_for(engine, engine.initial_state(), 3)
    rough = stepper_for(engine, engine.initial_state(), 3, keep)
    differences = []
    for time in range(30):
        ids = (np.arange(3) * 3 + time**2) % 11
        differences.append(np.abs(log_softmax(exact.step(ids)) - log_softmax(rough.step(ids))).max())
        if time == 20:
            exact.keep([2, 0])
            rough.keep([2, 0])
            break
    assert 1e-7 < max(differences) < 0.1


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("cell", FUSED)
def test_torch_tensors_step_as_numpy_does(cell, order):
    architecture = Architecture(cell, 11, 6, 8, 2, embedding_order=order)
    engine = Engine(architecture, ramp_weights(architecture, 0.5))
    plain = stepper_for(engine, engine.initial_state(), 3)
    tensors = TorchStepper(engine, engine.initial_state(), 3, device="cpu", dtype=torch.float32)
    assert tensors.largest_logit == plain.largest_logit
    for time in range(10):
        ids = (np.arange(3) * 3 + time**2) % 11
        np.testing.assert_allclose(tensors.step(ids), plain.step(ids), atol=1e-5)
    for stepper in (tensors, plain):
        stepper.keep([2, 0, 0])
    np.testing.assert_allclose(tensors.step(np.array([1, 2, 3])), plain.step(np.array([1, 2, 3])), atol=1e-5)
    other = tensors.fork(tensors.state(), 3)
    np.testing.assert_allclose(other.step(np.array([4, 5, 6])), plain.step(np.array([4, 5, 6])), atol=1e-5)
    one, wanted = tensors.fork(engine.initial_state()), plain.fork(engine.initial_state())
    np.testing.assert_allclose(one.read(np.arange(5)), wanted.read(np.arange(5)), atol=1e-5)
    rough = TorchStepper(engine, engine.initial_state(), device="cpu", dtype=torch.bfloat16)
    assert np.abs(rough.read(np.arange(5)) - wanted.fork(engine.initial_state()).read(np.arange(5))).max() < 0.1
