import math

import numpy as np
import pytest
import torch

from charnn.cells import CELLS, CellWeights, project, step
from charnn.cells.gates import sigmoid, split_gates

TORCH_CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}


def numbers(*shape, phase=0.0):
    return np.sin(0.9 * np.arange(math.prod(shape)) + phase).astype(np.float64).reshape(shape)


def weights_of(cell, inputs=3, hidden=4):
    rows = cell.num_gates * hidden
    return CellWeights(
        numbers(rows, inputs), numbers(rows, hidden, phase=1), numbers(rows, phase=2), numbers(rows, phase=3)
    )


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_cells_equations_are_torchs(cell):
    weights = weights_of(cell)
    inputs = numbers(5, 3, phase=4)
    state = tuple(numbers(5, 4, phase=5 + number) for number in range(cell.num_states))
    reference = TORCH_CELLS[cell.name](3, 4).double()
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(reference, name).copy_(torch.from_numpy(getattr(weights, name)))
    tensors = [torch.from_numpy(part) for part in state]
    expected = reference(torch.from_numpy(inputs), tuple(tensors) if len(tensors) > 1 else tensors[0])
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = step(cell, weights, project(weights, inputs), state, np)
    for part, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, wanted.detach().numpy(), atol=1e-12)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_the_same_lines_run_on_numpy_and_on_torch(cell):
    weights = weights_of(cell)
    state = tuple(numbers(2, 4, phase=number) for number in range(cell.num_states))
    projected = project(weights, numbers(2, 3))
    on_torch = CellWeights(**{name: torch.from_numpy(array) for name, array in vars(weights).items()})
    found = step(cell, on_torch, torch.from_numpy(projected), [torch.from_numpy(part) for part in state], torch)
    for part, wanted in zip(found, step(cell, weights, projected, state, np), strict=True):
        np.testing.assert_allclose(part.numpy(), wanted, atol=1e-14)


@pytest.mark.parametrize("cell", [cell for cell in CELLS.values() if cell.additive], ids=lambda cell: cell.name)
def test_an_additive_cell_needs_the_sum_of_its_projections_only(cell):
    state = tuple(numbers(2, 4, phase=number) for number in range(cell.num_states))
    projected, recurrent = numbers(2, cell.num_gates * 4), numbers(2, cell.num_gates * 4, phase=1)
    apart = cell.combine(projected, recurrent, state, np)
    together = cell.combine(projected + recurrent, 0.0, state, np)
    np.testing.assert_array_equal(apart, together)


def test_an_lstm_by_hand():
    # All gates see 0, so each is 1/2; the candidate sees 0 too, so the memory halves: 0.8 -> 0.4.
    hidden, memory = CELLS["lstm"].combine(
        np.zeros((1, 4)), np.zeros((1, 4)), (np.ones((1, 1)), np.full((1, 1), 0.8)), np
    )
    assert memory.item() == pytest.approx(0.4)
    assert hidden.item() == pytest.approx(0.5 * math.tanh(0.4))


def test_a_gru_by_hand():
    # Gates 1/2, candidate tanh(0.2 + 0.5 * 0.6) = tanh(0.5), hidden 1: halfway between the two.
    projected, recurrent = np.array([[0.0, 0.0, 0.2]]), np.array([[0.0, 0.0, 0.6]])
    (hidden,) = CELLS["gru"].combine(projected, recurrent, (np.ones((1, 1)),), np)
    assert hidden.item() == pytest.approx((1 + math.tanh(0.5)) / 2)


def test_a_simple_network_by_hand():
    (hidden,) = CELLS["rnn"].combine(np.array([[0.25]]), np.array([[0.5]]), (np.zeros((1, 1)),), np)
    assert hidden.item() == pytest.approx(math.tanh(0.75))


def test_the_logistic_function_does_not_overflow():
    assert sigmoid(np.array([-1e30, 0.0, 1e30]), np).tolist() == [0.0, 0.5, 1.0]


def test_gates_are_blocks_in_order():
    assert [block.tolist() for block in split_gates(np.arange(6), 3)] == [[0, 1], [2, 3], [4, 5]]
