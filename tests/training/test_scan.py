import pytest
import torch

from charnn.cells import cell_of
from charnn.config import Architecture
from charnn.training.network.layers import EquationLayer
from charnn.training.network.scan import linear_recurrence, parallel_scan, sequential_scan


def coefficients(length, num_streams=2, size=16):
    torch.manual_seed(1)
    return torch.rand(length, num_streams, size), torch.randn(length, num_streams, size), torch.randn(num_streams, size)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 16, 17, 4096])
def test_the_parallel_scan_is_the_sequential_scan(length):
    decays, inputs, initial = coefficients(length)
    torch.testing.assert_close(
        parallel_scan(decays, inputs, initial), sequential_scan(decays, inputs, initial), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
def test_the_scan_of_a_minimal_cell_is_its_recurrence_over_4096_steps(cell):
    torch.manual_seed(0)
    architecture = Architecture(cell, 11, 6, 24, 1)
    layer = EquationLayer(architecture, 0)
    weights = {name: weight.detach().normal_(std=0.5) for name, weight in layer.named_weights().items()}
    inputs, state = torch.randn(4096, 2, 6), (torch.rand(2, 24),)
    with torch.no_grad():
        scanned, last = layer(inputs, state)
    equations, projected = cell_of(architecture), inputs @ weights["weight_ih"].T + weights["bias_ih"]
    for time, token in enumerate(projected):
        state = equations.step(weights, token, state, torch)
        assert float((state[0] - scanned[time]).abs().max()) < 1e-5
    torch.testing.assert_close(last[0], state[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1, 7, 600])
def test_the_gradient_of_a_scan_is_the_gradient_of_the_recurrence(length):
    tensors = [part.double().requires_grad_() for part in coefficients(length, 1, 2)]
    weights = torch.randn(length, 1, 2, dtype=torch.float64)

    def stepwise(decays, inputs, initial):
        outputs = []
        for a, b in zip(decays, inputs, strict=True):
            initial = a * initial + b
            outputs.append(initial)
        return torch.stack(outputs)

    found = torch.autograd.grad((linear_recurrence(*tensors) * weights).sum(), tensors)
    expected = torch.autograd.grad((stepwise(*tensors) * weights).sum(), tensors)
    for gradient, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, wanted)
