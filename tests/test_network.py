import numpy as np
import pytest
import torch

from charnn.cells import CELLS
from charnn.config import Architecture
from charnn.model_directory import expected_shapes
from charnn.training.layers import EquationLayer, make_layer
from charnn.training.network import LockedDropout, Network, PlaceDropout, detached
from tests.conftest import ARCHITECTURES, ramp_weights


def network_of(architecture, **options):
    network = Network(architecture, **options)
    network.load_arrays(ramp_weights(architecture))
    return network


@pytest.mark.parametrize("cell", CELLS)
def test_the_fused_layer_is_the_equations(cell):
    torch.manual_seed(1)
    fused, equations = make_layer(cell, 5, 7), EquationLayer(cell, 5, 7)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            fused.weight(name).normal_()
            equations.weight(name).copy_(fused.weight(name))
    inputs = torch.randn(9, 3, 5)
    state = tuple(torch.randn(3, 7) for _ in range(CELLS[cell].num_states))
    results = []
    for layer in (fused, equations):
        outputs, last = layer(inputs, state)
        (outputs.square().sum() + last[-1].sum()).backward()
        gradients = [layer.weight(name).grad for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        results.append([outputs, *last, *gradients])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reading_in_chunks_with_carried_state_is_reading_at_once(architecture):
    network = network_of(architecture)
    ids = torch.arange(60).reshape(20, 3) % architecture.vocab_size
    whole, _ = network(ids, network.initial_state(3))
    state, parts = network.initial_state(3), []
    for chunk in ids.split(7):
        logits, state = network(chunk, detached(state))
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts), whole)


def test_detached_state_carries_no_gradient():
    network = network_of(Architecture("lstm", 11, 6, 8, 2))
    _, state = network(torch.zeros(3, 2, dtype=torch.long), network.initial_state(2))
    assert all(part.requires_grad for layer in state for part in layer)
    assert not any(part.requires_grad for layer in detached(state) for part in layer)


def test_place_dropout_leaves_out_whole_vectors_place_by_place():
    torch.manual_seed(0)
    dropout = PlaceDropout(0.25)
    values = dropout(torch.ones(60, 40, 5))
    assert torch.equal(values, values[..., :1].expand(60, 40, 5))
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((values == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    dropout.eval()
    assert torch.equal(dropout(torch.ones(3, 2, 5)), torch.ones(3, 2, 5))


def test_locked_dropout_is_one_mask_for_all_steps_and_differs_between_streams():
    torch.manual_seed(0)
    values = LockedDropout(0.5)(torch.ones(6, 4, 50))
    assert set(values.unique().tolist()) == {0.0, 2.0}
    assert (values == values[:1]).all()
    assert not (values[0, 0] == values[0, 1]).all()


def test_dropout_is_off_in_evaluation_and_at_zero():
    values = torch.ones(2, 2, 9)
    assert LockedDropout(0.5).eval()(values) is values
    assert LockedDropout(0.0)(values) is values


@pytest.mark.parametrize("tied", [False, True])
def test_weights_have_the_names_and_shapes_that_they_have_on_disk(tied):
    architecture = Architecture("lstm", 11, 8, 8, 2, tie_weights=tied)
    network = network_of(architecture)
    found = {name: array.shape for name, array in network.arrays().items()}
    assert found == expected_shapes(architecture)
    assert sum(weight.numel() for weight in network.parameters()) == sum(map(np.size, network.arrays().values()))
    assert (network.output.weight is network.embedding.weight) == tied


def test_arrays_are_copies():
    network = network_of(Architecture("gru", 11, 6, 8, 1))
    before = network.arrays()["output.bias"].copy()
    kept = network.arrays()
    with torch.no_grad():
        network.output.bias.add_(1)
    np.testing.assert_array_equal(kept["output.bias"], before)


def test_the_forget_gate_begins_open_and_recurrent_blocks_orthogonal():
    layer = make_layer("lstm", 5, 6)
    assert layer.weight("bias_ih").split(6)[1].tolist() == [1.0] * 6
    for block in layer.weight("weight_hh").split(6):
        torch.testing.assert_close(block @ block.T, torch.eye(6), atol=1e-5, rtol=0)
