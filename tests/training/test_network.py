import numpy as np
import pytest
import torch

from charnn.cells.parameters import expected_shapes
from charnn.config import Architecture
from charnn.config.model import InitializationOptions
from charnn.config.training import TrainingOptions
from charnn.training.network.dropout import PositionDropout, RegularizationRates, TokenDropout, ValueDropout
from charnn.training.network.layers import EquationLayer, FusedLayer, make_layer
from charnn.training.network.network import Network, detached
from tests.conftest import ARCHITECTURES, ramp_weights, seeded


def network_of(architecture, **options):
    network = Network(architecture, **options)
    network.load_arrays(ramp_weights(architecture))
    return network


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture("lstm", 11, 5, 7, 1),
        Architecture("gru", 11, 5, 7, 1),
        Architecture("rnn", 11, 5, 7, 1),
        Architecture("rnn", 11, 5, 7, 1, nonlinearity="relu"),
    ],
    ids=lambda shape: f"{shape.cell}-{shape.nonlinearity}",
)
@pytest.mark.parametrize("weight_drop", [0.0, 0.5])
def test_the_fused_layer_is_the_equations(architecture, weight_drop):
    torch.manual_seed(1)
    fused = make_layer(architecture, 0, RegularizationRates(weight_drop=weight_drop))
    equations = EquationLayer(architecture, 0, weight_drop=weight_drop)
    assert isinstance(fused, FusedLayer)
    with torch.no_grad():
        for name, weight in fused.named_weights().items():
            equations.named_weights()[name].copy_(weight.normal_())
    inputs = torch.randn(9, 3, 5)
    state = tuple(torch.randn(3, 7) for _ in range(equations.cell.num_states))
    results = []
    for layer in (fused, equations):
        outputs, last = layer(inputs, state, seeded(3))
        (outputs.square().sum() + last[-1].sum()).backward()
        results.append([outputs, *last, *(weight.grad for _, weight in sorted(layer.named_weights().items()))])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_forward_pass_in_chunks_with_carried_state_is_one_forward_pass(architecture):
    network = network_of(architecture)
    ids = torch.arange(60).reshape(20, 3) % architecture.vocab_size
    whole, _ = network(ids, network.initial_state(3))
    state, parts = network.initial_state(3), []
    for chunk in ids.split(7):
        logits, state = network(chunk, detached(state))
        parts.append(logits)
    tolerance = {"rtol": 1e-2, "atol": 1e-4} if architecture.attention_window else {"rtol": None, "atol": None}
    torch.testing.assert_close(torch.cat(parts), whole, **tolerance)


def test_detached_state_carries_no_gradient():
    network = network_of(Architecture("lstm", 11, 6, 8, 2))
    _, state = network(torch.zeros(3, 2, dtype=torch.long), network.initial_state(2))
    assert all(part.requires_grad for layer in state for part in layer)
    assert not any(part.requires_grad for layer in detached(state) for part in layer)


def test_position_dropout_drops_whole_vectors_at_single_positions():
    dropout = PositionDropout(0.25)
    values = dropout(torch.ones(60, 40, 5), seeded())
    assert torch.equal(values, values[..., :1].expand(60, 40, 5))
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((values == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(dropout(torch.ones(3, 2, 5), None), torch.ones(3, 2, 5))


@pytest.mark.parametrize("kind", ["locked", "variational"])
def test_locked_dropout_has_one_mask_for_all_time_steps_and_differs_between_streams(kind):
    values = ValueDropout(0.5, kind)(torch.ones(6, 4, 50), seeded())
    assert set(values.unique().tolist()) == {0.0, 2.0}
    assert (values == values[:1]).all()
    assert not (values[0, 0] == values[0, 1]).all()


def test_naive_dropout_differs_at_each_time_step():
    values = ValueDropout(0.5, "naive")(torch.ones(6, 4, 50), seeded())
    assert set(values.unique().tolist()) == {0.0, 2.0}
    assert len({tuple(step.flatten().tolist()) for step in values}) == 6


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "leaky", "mlstm", "mogrifier"])
def test_only_variational_dropout_masks_recurrent_connections_with_one_mask(cell):
    architecture = Architecture(cell, 11, 6, 40, 1, mogrifier_rounds=2 * (cell == "mogrifier"))
    masks = []
    for kind in ("naive", "locked", "variational"):
        rates = RegularizationRates(kind, input=0.5, hidden=0.5, output=0.5, recurrent=0.5)
        layer = make_layer(architecture, 0, rates)
        drawn = layer._drawn_weights(3, seeded()) if isinstance(layer, EquationLayer) else {}
        masks.append(drawn.get("recurrent_mask"))
    assert masks[:2] == [None, None]
    assert masks[2].shape == (3, 40)  # no time dimension: the same at each step
    assert set(masks[2].unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(masks[2][0], masks[2][1])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "leaky"])
def test_without_dropout_all_kinds_are_equal(cell):
    results = []
    for kind in ("naive", "locked", "variational"):
        torch.manual_seed(5)
        options = TrainingOptions(dropout=0.0, dropout_kind=kind)
        network = Network(Architecture(cell, 11, 6, 8, 2), rates=RegularizationRates.of(options))
        logits, _ = network(torch.arange(60).reshape(20, 3) % 11, network.initial_state(3), seeded())
        logits.square().sum().backward()
        results.append([logits, *(weight.grad.to_dense() for weight in network.named_weights().values())])
    for others in results[1:]:
        for found, wanted in zip(others, results[0], strict=True):
            assert torch.equal(found, wanted)


def test_dropout_is_the_default_of_dropout_by_location():
    options = TrainingOptions(dropout=0.5, input_dropout=0.1, attention_dropout=0.2)
    assert RegularizationRates.of(options) == RegularizationRates(
        input=0.1, hidden=0.5, output=0.5, recurrent=0.5, attention=0.2
    )


def test_dropout_is_off_in_evaluation_and_at_zero():
    values = torch.ones(2, 2, 9)
    assert ValueDropout(0.5)(values, None) is values
    assert ValueDropout(0.0)(values, seeded()) is values
    assert TokenDropout(0.5, 11)(values, torch.zeros(2, 2, dtype=torch.long), None) is values
    architecture = Architecture("lstm", 11, 6, 8, 1)
    rates = RegularizationRates("variational", 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, weight_drop=0.5)
    network = Network(architecture, rates=rates)
    plain = network_of(architecture)
    network.load_arrays(plain.arrays())
    ids = torch.arange(12).reshape(6, 2) % 11
    torch.testing.assert_close(network(ids, network.initial_state(2))[0], plain(ids, plain.initial_state(2))[0])


def test_embedding_dropout_drops_a_token_at_all_positions():
    # Tokens 0 to 4, each at twelve positions: each is doubled or zero at all of them.
    ids = torch.arange(60).reshape(20, 3) % 5
    values = TokenDropout(0.5, 5)(torch.ones(20, 3, 4), ids, seeded(1))
    for token in range(5):
        assert len(values[ids == token].unique()) == 1
    assert set(values.unique().tolist()) == {0.0, 2.0}


def test_weight_drop_drops_entries_of_recurrent_matrices_only():
    architecture, generator = Architecture("lstm", 11, 6, 8, 1), seeded(1)
    layer = EquationLayer(architecture, 0, weight_drop=0.5)
    with torch.no_grad():
        for weight in layer.named_weights().values():
            weight.fill_(1.0)
    drawn = [layer._drawn_weights(2, generator) for _ in range(2)]
    assert set(drawn[0]["weight_hh"].unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(drawn[0]["weight_hh"], drawn[1]["weight_hh"])
    assert drawn[0]["weight_ih"].unique().tolist() == [1.0]
    assert layer._drawn_weights(2, None)["weight_hh"].unique().tolist() == [1.0]


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


def test_by_default_the_forget_bias_is_one_and_recurrent_blocks_are_orthogonal():
    weights = Network(Architecture("lstm", 11, 5, 6, 1)).named_weights()
    assert weights["layers.0.bias_ih"].split(6)[1].tolist() == [1.0] * 6
    for block in weights["layers.0.weight_hh"].split(6):
        torch.testing.assert_close(block @ block.T, torch.eye(6), atol=1e-5, rtol=0)


def initialized(cell, **options):
    architecture = Architecture(cell, 11, 5, 6, 2)
    return Network(architecture, initialization=InitializationOptions(**options)).named_weights()


def test_matrices_are_initialized_by_their_options():
    weights = initialized("lstm", init_input="uniform", init_recurrent="uniform", init_range=0.05)
    for name in ("layers.0.weight_ih", "layers.1.weight_hh", "embedding.weight", "output.weight"):
        assert 0.03 < weights[name].abs().max() <= 0.05
    for block in initialized("rnn", init_recurrent="identity")["layers.0.weight_hh"].split(6):
        assert torch.equal(block, torch.eye(6))
    block = initialized("gru", init_input="orthogonal")["layers.0.weight_ih"].split(6)[0]
    torch.testing.assert_close(block.T @ block, torch.eye(5), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("cell", "name", "block"),
    [
        ("lstm", "bias_ih", 1),
        ("mogrifier", "bias_ih", 1),
        ("depth-lstm", "bias_ih", 1),
        ("mlstm", "bias_hh", 1),
        ("minlstm", "bias_ih", 0),
        ("gru", "bias_ih", 1),
    ],
)
def test_the_forget_bias_is_initialized_by_its_option(cell, name, block):
    biases = initialized(cell, forget_bias=2.5)[f"layers.1.{name}"].split(6)
    assert [part.tolist() == [2.5] * 6 for part in biases] == [number == block for number in range(len(biases))]
    assert (
        initialized("mingru", forget_bias=2.5)["layers.0.bias_ih"].split(6)[0].tolist() == [-2.5] * 6
    )  # an open z replaces the state
    if cell == "mlstm":
        assert initialized(cell)[f"layers.1.{name}"].split(6)[1].tolist() == [3.0] * 6


def test_a_leak_is_learned_unless_it_is_given():
    learned = initialized("leaky")["layers.0.leak"]
    assert learned.requires_grad
    assert torch.sigmoid(learned).tolist() == pytest.approx(sorted(torch.sigmoid(learned).tolist()))
    assert torch.sigmoid(learned)[[0, -1]].tolist() == pytest.approx([0.047, 0.953], abs=1e-3)
    fixed = initialized("leaky", leak=0.3)["layers.0.leak"]
    assert not fixed.requires_grad
    assert torch.sigmoid(fixed).tolist() == pytest.approx([0.3] * 6)


def test_a_learned_initial_state_gets_a_gradient():
    network = network_of(Architecture("lstm", 11, 6, 8, 1, initial_state="learned"))
    logits, _ = network(torch.zeros(3, 2, dtype=torch.long), network.initial_state(2))
    logits.square().sum().backward()
    for number in range(2):
        assert network.named_weights()[f"layers.0.initial_{number}"].grad.abs().sum() > 0


def test_tied_weights_make_the_last_layer_as_wide_as_the_embedding():
    architecture = Architecture("lstm", 11, 6, 8, 2, tie_weights=True)
    shapes = expected_shapes(architecture)
    assert shapes["layers.0.weight_hh"] == (32, 8)
    assert shapes["layers.1.weight_ih"] == (24, 8)
    assert shapes["layers.1.weight_hh"] == (24, 6)
    assert shapes["output.bias"] == (11,)


def test_a_learned_initial_state_is_contiguous_as_cudnn_wants_it():
    network = network_of(Architecture("lstm", 11, 5, 7, 1, initial_state="learned"))
    assert all(part.is_contiguous() for layer in network.initial_state(3) for part in layer)
