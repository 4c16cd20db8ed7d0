"""The loss over a large vocabulary in chunks: the losses and gradients of the whole."""

import pytest
import torch

from charnn.config import Architecture, TrainingOptions
from charnn.training import chunked_loss
from charnn.training.loss import IGNORED
from charnn.training.network.network import Network
from charnn.training.objective import Counts, objective
from tests.conftest import ramp_weights, seeded

V = 300


def computed(precision="fp32", **options):
    """Return the loss, the objective and the gradients of a batch with padding."""
    cell = "mingru" if precision == "bf16" else "lstm"  # some processors have no LSTM in bf16
    architecture = Architecture(cell, V, 8, 8, 1, embedding_order=1, tie_weights=options.pop("tied", False))
    network = Network(architecture)
    network.load_arrays(ramp_weights(architecture))
    ids = torch.randint(V, (13, 6), generator=seeded(1))
    targets = ids[1:].clone()
    targets[5:, 2] = IGNORED
    made = TrainingOptions(batch_size=6, bptt_length=12, dropout=0.0, **options)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = objective(
            network,
            ids[:-1],
            targets,
            network.initial_state(6),
            counts=Counts.of(targets.numpy()),
            options=made,
            generator=seeded(2),
        )
    weights = network.named_weights()
    gradients = torch.autograd.grad(found.objective_nats, list(weights.values()))
    dense = [gradient.to_dense() if gradient.is_sparse else gradient for gradient in gradients]
    return found.loss, found.objective_nats.detach(), dict(zip(weights, dense, strict=True))


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 1e-5),
        ({"label_smoothing": 0.2}, 1e-5),
        ({"activation_penalty": 2.0, "temporal_penalty": 1.0, "tied": True}, 1e-5),
        ({"precision": "bf16", "label_smoothing": 0.1}, 2e-2),
    ],
    ids=str,
)
@pytest.mark.parametrize("at_once", [V, 7 * V + 5, 1000 * V])
def test_losses_and_gradients_are_those_of_the_whole(monkeypatch, at_once, options, tolerance):
    precision = options.get("precision", "fp32")
    others = {name: value for name, value in options.items() if name != "precision"}
    whole = computed(precision, **others)
    monkeypatch.setitem(chunked_loss.MAX_LOGITS, "cpu", at_once)
    calls = []
    forward = chunked_loss._ChunkedLosses.forward
    monkeypatch.setattr(
        chunked_loss._ChunkedLosses, "forward", staticmethod(lambda *given: calls.append(1) or forward(*given))
    )
    loss, objective_nats, gradients = computed(precision, **others)
    assert len(calls) == (at_once < 72 * V)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, whole[0], rtol=tolerance, atol=0)
    torch.testing.assert_close(objective_nats, whole[1], rtol=tolerance, atol=0)
    for name, gradient in gradients.items():
        scale = whole[2][name].abs().max()
        assert (gradient - whole[2][name]).abs().max() <= tolerance * scale, name


def test_only_a_large_vocabulary_is_chunked():
    assert not chunked_loss.is_chunked(16 * 128, 300, "cpu")
    assert chunked_loss.is_chunked(16 * 128, 20_000, "cpu")
