"""The mixture of a trained network with its n-gram models on held-out text."""

import numpy as np
import pytest
import torch

from charnn.ngrams.mixture import Stage, fit_stages, fit_weights, mixed, target_log_probs
from charnn.storage.label_ngrams import read_label_ngrams
from charnn.storage.model_directory import read_model, read_ngrams
from charnn.training.batches import with_labels
from charnn.training.held_out import HeldOutText
from charnn.training.network.network import Network
from charnn.training.parallel.workers import Workers
from charnn.training.run import mixing
from charnn.training.run.mixing import MixtureFit
from tests.conftest import ramp_weights

UNITS = ["is the kettle on", "hm", "never mind the boat 2", "the kettle is on the boat", "never on", "mind the hm 2"]
LABELS = [2, 0, 1, 2, 1, 1]


@pytest.fixture
def voices(voices_run):
    """A network of three labels, its n-gram models, and some lines."""
    model = read_model(voices_run)
    sha256, size = model.tokenizer_sha256, model.architecture.vocab_size
    network = Network(model.architecture)
    network.load_arrays(ramp_weights(model.architecture))
    boundary = model.tokenizer.vocabulary.boundary_id
    ids = np.concatenate([np.append(model.tokenizer.encode(unit), boundary) for unit in UNITS])
    text = HeldOutText.of(ids, model.tokenizer.vocabulary, unit="line", labels=np.array(LABELS))
    ngrams = read_ngrams(voices_run, size, tokenizer_sha256=sha256)
    return network, text, model.tokenizer.vocabulary, ngrams, read_label_ngrams(voices_run, size, sha256)


def by_hand(network, text, ngrams, labels_of_units=None, label_ngrams=()):
    """Return the log probabilities of the network, the stages, and the label of each token, unit by unit."""
    rows, probs, matched, own_probs, own_matched, labels = [], [], [], [], [], []
    before = text.boundary_id
    for unit, label in zip(np.split(text.tokens, np.flatnonzero(text.tokens == before) + 1)[:-1], LABELS, strict=True):
        context = [before, *unit[:-1].tolist()]
        given = with_labels(np.array(context), np.array(label), len(ngrams.unigrams))
        with torch.no_grad():
            logits, _ = network(torch.from_numpy(given)[:, None], network.initial_state(1))
        rows += list(torch.log_softmax(logits[:, 0].double(), dim=1).numpy())
        for place in range(len(unit)):
            for model, kept in (
                (ngrams, (probs, matched)),
                (label_ngrams[max(label - 1, 0)], (own_probs, own_matched)),
            ):
                for values, value in zip(kept, model.distribution(context[: place + 1]), strict=True):
                    values.append(value)
        labels += [label] * len(unit)
    own_order = max(each.order for each in label_ngrams)
    stages = [
        Stage(np.log(probs), np.array(matched), ngrams.order),
        Stage(np.log(own_probs), np.array(own_matched), own_order),
    ]
    return np.array(rows), stages, np.array(labels)


def test_each_half_is_measured_with_weights_of_the_other(voices):
    network, text, vocabulary, ngrams, label_ngrams = voices
    rows, (stage, _), _ = by_hand(network, text, ngrams, label_ngrams=label_ngrams)
    half, targets = len(text) // 2, text.tokens
    losses = []
    for scored, fitted in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        weights = fit_weights(rows[fitted], stage.part(fitted), targets[fitted])
        losses += list(-target_log_probs(rows[scored], [stage.part(scored)], [weights], targets[scored]))
    fit = MixtureFit(network, text, vocabulary, ngrams, workers=Workers())
    found = fit.fitted()
    np.testing.assert_allclose(fit.network_log_probs, rows[np.arange(len(text)), targets], atol=1e-5)
    assert found.loss_nats == pytest.approx(np.mean(losses), abs=1e-5)
    np.testing.assert_allclose(found.weights[0], fit_weights(rows, stage, targets), atol=1e-4)


def test_units_without_a_label_are_no_part_of_the_mixture_with_labels(voices):
    network, text, vocabulary, ngrams, label_ngrams = voices
    rows, stages, labels = by_hand(network, text, ngrams, label_ngrams=label_ngrams)
    is_known, half, losses = labels > 0, len(text) // 2, []
    places = np.arange(len(text))
    for scored, fitted in ((places < half, places >= half), (places >= half, places < half)):
        fitted, scored = np.flatnonzero(fitted & is_known), np.flatnonzero(scored & is_known)
        weights = fit_stages(rows[fitted], [stage.part(fitted) for stage in stages], text.tokens[fitted])
        parts = [stage.part(scored) for stage in stages]
        losses += list(-target_log_probs(rows[scored], parts, weights, text.tokens[scored]))
    fit = MixtureFit(network, text, vocabulary, ngrams)
    (common,) = fit.fitted().weights
    found = fit.fitted_with_labels(label_ngrams, common)
    assert found.loss_nats == pytest.approx(np.mean(losses), abs=1e-5)
    known = np.flatnonzero(is_known)
    after = mixed(rows[known], stages[0].log_probs_NV[known], common[stages[0].matched_N[known]])
    np.testing.assert_array_equal(found.weights[0], common)
    np.testing.assert_allclose(
        found.weights[1], fit_weights(after, stages[1].part(known), text.tokens[known]), atol=1e-4
    )


def test_a_text_too_long_to_store_is_measured_whole(voices, monkeypatch):
    network, text, vocabulary, ngrams, label_ngrams = voices
    rows, (stage, _), _ = by_hand(network, text, ngrams, label_ngrams=label_ngrams)
    monkeypatch.setattr(mixing, "MAX_STORED_NUMBERS", len(text) * len(vocabulary) // 2)
    half, losses, stored = len(text) // 2, [], np.arange(0, len(text), 3)
    for scored, fitted in ((slice(0, half), stored[stored >= half]), (slice(half, None), stored[stored < half])):
        weights = fit_weights(rows[fitted], stage.part(fitted), text.tokens[fitted])
        losses += list(-target_log_probs(rows[scored], [stage.part(scored)], [weights], text.tokens[scored]))
    assert MixtureFit(network, text, vocabulary, ngrams).fitted().loss_nats == pytest.approx(np.mean(losses), abs=1e-5)
