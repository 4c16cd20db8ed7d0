import math

import numpy as np
import pytest
import torch

from charnn.cells import CELL_NAMES, RECURRENT_MASK, cell_of
from charnn.cells.gates import sigmoid, split_gates
from charnn.cells.lstm import lstm
from charnn.cells.minimal import minlstm, positive
from charnn.cells.rnn import relu
from charnn.config import Architecture
from tests.conftest import ARCHITECTURES

TORCH_CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}


def numbers(*shape, phase=0.0):
    return np.sin(0.9 * np.arange(math.prod(shape)) + phase).astype(np.float64).reshape(shape)


def made(cell, layer=0, num_layers=1, **options):
    return cell_of(Architecture(cell, 11, 3, 4, num_layers, **options), layer)


def weights_of(cell, inputs=3, hidden=4):
    shapes = cell.shapes(inputs, hidden)
    return {name: numbers(*shape, phase=number) for number, (name, shape) in enumerate(shapes.items())}


def states_of(cell, num_streams=2, hidden=4):
    return tuple(numbers(num_streams, hidden, phase=5 + number) for number in range(cell.num_states))


def logistic(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("name", TORCH_CELLS)
def test_a_cells_equations_are_torchs(name):
    cell = made(name)
    weights, inputs, state = weights_of(cell), numbers(5, 3, phase=4), states_of(cell, 5)
    reference = TORCH_CELLS[name](3, 4).double()
    with torch.no_grad():
        for parameter, array in weights.items():
            getattr(reference, parameter).copy_(torch.from_numpy(array))
    tensors = [torch.from_numpy(part) for part in state]
    expected = reference(torch.from_numpy(inputs), tuple(tensors) if len(tensors) > 1 else tensors[0])
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = cell.step(weights, cell.project(weights, inputs, np), state, np)
    for part, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, wanted.detach().numpy(), atol=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_lines_run_on_numpy_and_on_torch(architecture):
    for layer in range(architecture.num_layers):
        cell = cell_of(architecture, layer)
        inputs, hidden = architecture.layer_sizes(layer)
        weights = weights_of(cell, inputs, hidden)
        width = inputs * (1 + (layer > 0 and architecture.cell == "depth-lstm"))
        values, state = numbers(2, width), states_of(cell, hidden=hidden)
        on_torch = {name: torch.from_numpy(array) for name, array in weights.items()}
        found = cell.step(
            on_torch,
            cell.project(on_torch, torch.from_numpy(values), torch),
            [torch.from_numpy(part) for part in state],
            torch,
        )
        for part, wanted in zip(found, cell.step(weights, cell.project(weights, values, np), state, np), strict=True):
            np.testing.assert_allclose(part.numpy(), wanted, atol=1e-13)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_finite_differences(architecture):
    torch.manual_seed(2)
    layer = architecture.num_layers - 1
    cell = cell_of(architecture, layer)
    inputs, hidden = architecture.layer_sizes(layer)
    width = inputs * (1 + (layer > 0 and architecture.cell == "depth-lstm"))
    names = tuple(cell.shapes(inputs, hidden))
    tensors = [torch.randn(*cell.shapes(inputs, hidden)[name]) * 0.5 for name in names]
    tensors += [torch.randn(3, 2, width)] + [torch.randn(2, hidden) * 0.5 for _ in range(cell.num_states)]

    def three_steps(*values):
        weights = dict(zip(names, values, strict=False))
        projected, state = cell.project(weights, values[len(names)], torch), values[len(names) + 1 :]
        for token in projected:
            state = cell.step(weights, token, state, torch)
        return tuple(state)

    tensors = [tensor.double().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(three_steps, tensors, eps=1e-6, atol=1e-7, rtol=1e-4, fast_mode=True)


def test_a_cell_that_can_be_joined_needs_the_sum_of_its_projections_only():
    joined = [cell for cell in map(made, CELL_NAMES) if cell.is_additive]
    assert len(joined) == 3  # lstm, rnn, and the lowest layer of a depth-gated LSTM
    for cell in joined:
        state = states_of(cell)
        projected, recurrent = numbers(2, cell.num_gates * 4), numbers(2, cell.num_gates * 4, phase=1)
        apart = cell.combine(projected, recurrent, state, np)
        np.testing.assert_array_equal(apart, cell.combine(projected + recurrent, 0.0, state, np))


def test_a_gru_needs_its_projections_apart():
    cell = made("gru")
    assert cell.combine is not None
    assert not cell.is_additive
    projected, recurrent = numbers(2, 12), numbers(2, 12, phase=1)
    (apart,) = cell.combine(projected, recurrent, states_of(cell), np)
    (together,) = cell.combine(projected + recurrent, np.zeros_like(recurrent), states_of(cell), np)
    assert np.abs(apart - together).max() > 1e-3


def test_an_lstm_by_hand():
    # All gates see 0, so each is 1/2; the candidate sees 0 too, so the memory halves: 0.8 -> 0.4.
    hidden, memory = lstm(np.zeros((1, 4)), np.zeros((1, 4)), (np.ones((1, 1)), np.full((1, 1), 0.8)), np)
    assert memory.item() == pytest.approx(0.4)
    assert hidden.item() == pytest.approx(0.5 * math.tanh(0.4))


def test_a_gru_by_hand():
    # Gates 1/2, candidate tanh(0.2 + 0.5 * 0.6) = tanh(0.5), hidden 1: halfway between the two.
    cell = made("gru")
    weights = {"weight_hh": np.array([[0.0], [0.0], [0.6]]), "bias_hh": np.zeros(3)}
    (hidden,) = cell.step(weights, np.array([[0.0, 0.0, 0.2]]), (np.ones((1, 1)),), np)
    assert hidden.item() == pytest.approx((1 + math.tanh(0.5)) / 2)


def test_a_simple_network_by_hand():
    (hidden,) = made("rnn").combine(np.array([[0.25]]), np.array([[0.5]]), (np.zeros((1, 1)),), np)
    assert hidden.item() == pytest.approx(math.tanh(0.75))
    (hidden,) = made("rnn", nonlinearity="relu").combine(np.array([[0.25]]), np.array([[0.5]]), (), np)
    assert hidden.item() == 0.75
    assert relu(np.array([-2.0, 0.5]), np).tolist() == [0.0, 0.5]


def test_a_leaky_unit_keeps_its_share():
    # A quarter of the old 0.8, three quarters of tanh(0.5 + 0.25 * 0.8).
    weights = {"weight_hh": np.array([[0.25]]), "bias_hh": np.zeros(1), "leak": np.array([-math.log(3)])}
    (hidden,) = made("leaky").step(weights, np.array([[0.5]]), (np.full((1, 1), 0.8),), np)
    assert hidden.item() == pytest.approx(0.25 * 0.8 + 0.75 * math.tanh(0.7))


def test_a_connection_through_time_reaches_back_as_far_as_it_says():
    # U = 0 and S = 1: each output is tanh of the input and the output three steps back.
    cell = made("rnn", skip=3)
    weights = {"weight_hh": np.zeros((1, 1)), "bias_hh": np.zeros(1), "weight_skip": np.ones((1, 1))}
    state, outputs = (np.zeros((1, 1)),) * cell.num_states, []
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        state = cell.step(weights, np.array([[value]]), state, np)
        outputs.append(state[0].item())
    assert outputs[:3] == pytest.approx([math.tanh(0.1), math.tanh(0.2), math.tanh(0.3)])
    assert outputs[3] == pytest.approx(math.tanh(0.4 + outputs[0]))
    assert outputs[4] == pytest.approx(math.tanh(0.5 + outputs[1]))


def test_a_multiplicative_lstm_sees_the_product_in_place_of_its_output():
    # m = 0.5 * (2 * 0.3) = 0.3; only the candidate sees it.
    weights = {
        "weight_mh": np.array([[2.0]]),
        "weight_hh": np.array([[0.0], [0.0], [1.0], [0.0]]),
        "bias_hh": np.zeros(4),
    }
    state = (np.array([[0.3]]), np.array([[0.8]]))
    hidden, memory = made("mlstm").step(weights, np.array([[0.0, 0.0, 0.0, 0.0, 0.5]]), state, np)
    assert memory.item() == pytest.approx(0.5 * 0.8 + 0.5 * math.tanh(0.3))
    assert hidden.item() == pytest.approx(0.5 * math.tanh(memory.item()))


def test_a_depth_gate_lets_the_memory_below_in():
    # Gates 1/2; the depth gate sees 0.1 + 2 * 0.8 + 3 * 0.4.
    weights = {
        "weight_hh": np.zeros((4, 1)),
        "bias_hh": np.zeros(4),
        "weight_cd": np.array([2.0]),
        "weight_ld": np.array([3.0]),
    }
    projected, state = np.array([[0.0, 0.0, 0.0, 0.0, 0.1, 0.4]]), (np.zeros((1, 1)), np.array([[0.8]]))
    _, memory = made("depth-lstm", 1, 2).step(weights, projected, state, np)
    assert memory.item() == pytest.approx(0.4 + logistic(0.1 + 1.6 + 1.2) * 0.4)


def test_a_mogrifier_gates_input_and_output_in_turn():
    # Round 1: x = 0.5 * 2 s(1 * 0.6); round 2: h = 0.6 * 2 s(-1 * x). The LSTM's candidate sees x + 10 h.
    cell = made("mogrifier", mogrifier_rounds=2)
    candidate = np.array([[0.0], [0.0], [1.0], [0.0]])
    weights = {
        "mogrify_1": np.array([[1.0]]),
        "mogrify_1_bias": np.zeros(1),
        "mogrify_2": np.array([[-1.0]]),
        "mogrify_2_bias": np.zeros(1),
        "weight_ih": candidate,
        "bias_ih": np.zeros(4),
        "weight_hh": 10 * candidate,
        "bias_hh": np.zeros(4),
    }
    value = 0.5 * 2 * logistic(0.6)
    output = 0.6 * 2 * logistic(-value)
    _, memory = cell.step(weights, np.array([[0.5]]), (np.array([[0.6]]), np.zeros((1, 1))), np)
    assert memory.item() == pytest.approx(0.5 * math.tanh(value + 10 * output))


def test_a_minimal_gru_mixes_the_old_and_the_new():
    weights = {}
    (hidden,) = made("mingru").step(weights, np.array([[1.0, 0.25]]), (np.array([[2.0]]),), np)
    assert hidden.item() == pytest.approx((1 - logistic(1)) * 2 + logistic(1) * 0.75)
    assert positive(np.array([-1.0, 0.0, 2.0]), np) == pytest.approx([logistic(-1), 0.5, 2.5])


def test_a_minimal_lstms_gates_share_one_even_where_both_are_nearly_closed():
    forget, entry = 0.3, -1.2
    kept, new = minlstm(np.array([[forget, entry, 0.25]]), np)
    total = logistic(forget) + logistic(entry)
    assert kept.item() == pytest.approx(logistic(forget) / total)
    assert new.item() == pytest.approx(logistic(entry) / total * 0.75)
    closed = np.array([[-500.0, -501.0, 0.25]], dtype=np.float32)
    with np.errstate(over="ignore"):
        assert 1 / (1 + np.exp(-closed[0, 0])) == 0  # in single precision the ratio of the gates would be 0 / (0 + 0)
    kept, new = minlstm(closed, np)
    assert kept.item() == pytest.approx(logistic(1))


@pytest.mark.parametrize("name", ["rnn", "leaky", "gru", "lstm", "mlstm", "mogrifier"])
def test_a_recurrent_mask_hides_the_output_from_the_recurrent_products_alone(name):
    cell = made(name, mogrifier_rounds=3 if name == "mogrifier" else 0)
    weights, state = weights_of(cell), states_of(cell)
    projected = cell.project(weights, numbers(2, 3), np)
    ones = {**weights, RECURRENT_MASK: np.ones((2, 4))}
    for part, wanted in zip(
        cell.step(ones, projected, state, np), cell.step(weights, projected, state, np), strict=True
    ):
        np.testing.assert_array_equal(part, wanted)
    hidden = {**weights, RECURRENT_MASK: np.zeros((2, 4))}
    blind = {**weights, **{key: value * 0 for key, value in weights.items() if key in ("weight_hh", "weight_mh")}}
    if name == "mogrifier":
        blind |= {key: weights[key] * 0 for key in ("mogrify_1", "mogrify_3")}
    for part, wanted in zip(
        cell.step(hidden, projected, state, np), cell.step(blind, projected, state, np), strict=True
    ):
        np.testing.assert_allclose(part, wanted, atol=1e-12)


def test_the_logistic_function_does_not_overflow():
    assert sigmoid(np.array([-1e30, 0.0, 1e30]), np).tolist() == [0.0, 0.5, 1.0]


def test_gates_are_blocks_in_order():
    assert [block.tolist() for block in split_gates(np.arange(6)[None], 3)] == [[[0, 1]], [[2, 3]], [[4, 5]]]
