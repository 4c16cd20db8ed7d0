import numpy as np
import pytest
import torch

from charnn.config import Architecture, ScoreOptions
from charnn.inference.engine import Engine
from charnn.scoring.dynamic import DynamicEstimator, DynamicSettings, fit_rates, gradient_scales
from charnn.scoring.estimators import NetworkEstimator
from charnn.scoring.scorer import score_units
from charnn.scoring.tuning import HeldOut
from charnn.training.network.network import Network
from tests.conftest import ramp_weights
from tests.scoring.test_estimators import FIVE

SHAPE = Architecture("lstm", 6, 4, 6, 1, embedding_order=2)
WEIGHTS = ramp_weights(SHAPE, 0.6)


def network():
    made = Network(SHAPE)
    made.load_arrays(WEIGHTS)
    return made


def estimator(rate, decay, segment=3, made=None):
    made = made or network()
    ids = np.array([1, 2, 3, 4, 5] * 8)
    scales = gradient_scales(made, ids, boundary_id=5, segment=segment, seed=1)
    return DynamicEstimator(made, DynamicSettings(segment, rate, decay), scales, vocab_size=6, is_backward=False)


def scored(found, texts, **options):
    return [score.log_prob_nats for score in score_units(found, FIVE, texts, ScoreOptions(**options))]


def test_without_a_rate_nothing_is_learned():
    texts = ["abcab", "", "dé"]
    assert scored(estimator(0.0, 0.0), texts) == pytest.approx(
        scored(NetworkEstimator(Engine(SHAPE, WEIGHTS)), texts), abs=1e-5
    )


def test_each_stretch_is_scored_before_it_is_learned_from():
    first, *_ = scored(estimator(0.5, 0.0, segment=100), ["abcabc", "abcabc"])
    plain, _ = scored(NetworkEstimator(Engine(SHAPE, WEIGHTS)), ["abcabc", "abcabc"])
    assert first == pytest.approx(plain, abs=1e-5)
    learned = scored(estimator(0.01, 0.0), ["abcabc"] * 10)
    assert learned[-1] > learned[0] + 0.1


def test_a_step_is_the_one_of_the_equation():
    found = estimator(0.01, 0.1, segment=2)
    before = {name: weight.detach().clone() for name, weight in found.network.named_weights().items()}
    reader = found.new_reader(1)
    contexts, targets = np.array([[5], [1], [2], [3]]), np.array([[1], [2], [3], [5]])
    expected = network()
    for first in (0, 2):
        logits, _ = expected(torch.tensor(contexts[: first + 2]), expected.initial_state(1))
        loss = (
            torch.nn.functional.cross_entropy(
                logits[first:, 0], torch.tensor(targets[first : first + 2, 0]), reduction="sum"
            )
            / 2
        )
        if first:
            continue
        weights = expected.named_weights()
        moving = {name: weight for name, weight in weights.items() if name in found.scales}
        gradients = torch.autograd.grad(loss, list(moving.values()))
    reader.read(contexts[:2], targets[:2], whole=False)
    after = found.network.named_weights()
    for (name, weight), gradient in zip(moving.items(), gradients, strict=True):
        scale = found.scales[name]
        rate = 0.07 if name == "embedding.2.weight" else 0.01
        moved = weight.detach() - rate * gradient / (scale + 0.05 * scale.mean())
        torch.testing.assert_close(after[name].detach(), moved)
    rows = (after["embedding.2.weight"] != before["embedding.2.weight"]).any(dim=1).nonzero()[:, 0]
    assert rows.tolist() == [0 * 7 + 6, 6 * 7 + 2]  # those of the beginning, and of the tokens 5 and 1
    reader.read(contexts[2:], targets[2:], whole=False)
    drawn_back = estimator(0.0, 0.5, segment=2, made=found.network)
    assert drawn_back.scales.keys() == found.scales.keys()


def test_weights_are_drawn_back_to_where_they_began():
    free, held = (scored(estimator(0.02, decay), ["ab" * 20, "cd" * 20])[1] for decay in (0.0, 0.9))
    assert free != pytest.approx(held, abs=1e-3)
    found = estimator(0.02, 0.9)
    scored(found, ["ab" * 5])
    away = sum(
        float((weight.detach() - found._trained_weights[name]).abs().sum()) for name, weight in found._weights.items()
    )
    found._set_rates(DynamicSettings(3, 0.0, 0.9))
    scored(found, ["ab" * 20])
    back = sum(
        float((weight.detach() - found._trained_weights[name]).abs().sum()) for name, weight in found._weights.items()
    )
    assert back < away / 2


def test_the_rates_that_are_fitted_are_the_best_of_those_tried_and_start_from_the_trained_weights():
    ids = np.array([1, 2, 1, 2, 3, 5] * 20)
    held_out = HeldOut([(np.concatenate(([5], ids[:-1]))[:, None], ids[:, None])])
    found = estimator(0.0, 0.0)
    *tried, (settings, loss) = fit_rates(found, held_out, rate=None, decay=None)
    assert loss == min(each for _, each in tried)
    assert len(tried) == 6 + 4
    ((given, _),) = set(fit_rates(found, held_out, rate=settings.rate, decay=settings.decay))
    assert given == settings
    found.reset(DynamicSettings(3, 0.0, 0.0))
    assert scored(found, ["ab"]) == pytest.approx(scored(NetworkEstimator(Engine(SHAPE, WEIGHTS)), ["ab"]), abs=1e-5)


def test_a_network_learns_from_one_text_at_a_time():
    with pytest.raises(ValueError, match="one text"):
        estimator(0.0, 0.0).new_reader(2)


def test_distributions_are_given_where_they_are_asked_for():
    (score,) = score_units(estimator(0.01, 0.0), FIVE, ["abcabcab"], ScoreOptions(per_token=True, alternatives=6))
    plain = scored(estimator(0.01, 0.0), ["abcabcab"])
    assert score.log_prob_nats == pytest.approx(plain[0], abs=1e-5)
    assert all(token.rank is not None for token in score.tokens)


@pytest.mark.parametrize("at_once", [1, 5, 64])
def test_how_a_text_is_handed_over_changes_nothing(at_once, monkeypatch):
    texts = ["abcabcab", "a", "", "dabc" * 4]
    expected = scored(estimator(0.02, 0.01, segment=4), texts)
    monkeypatch.setattr("charnn.scoring.scorer.MAX_CHUNK_LENGTH", at_once)
    assert scored(estimator(0.02, 0.01, segment=4), texts) == pytest.approx(expected, abs=1e-5)
    details = scored(estimator(0.02, 0.01, segment=4), texts, per_token=True)
    assert details == pytest.approx(expected, abs=1e-5)


def test_texts_shorter_than_a_stretch_are_learned_from():
    learned = scored(estimator(0.05, 0.0, segment=50), ["abc"] * 20)
    assert learned[-1] > learned[0] + 0.1


def test_a_learned_initial_state_stays():
    shape = Architecture("lstm", 6, 4, 6, 1, initial_state="learned")
    made = Network(shape)
    made.load_arrays(ramp_weights(shape, 0.6))
    found = estimator(0.02, 0.0, made=made)
    before = made.named_weights()["layers.0.initial_0"].detach().clone()
    learned = scored(found, ["ab"] * 20)
    assert learned[-1] > learned[0]
    assert torch.equal(made.named_weights()["layers.0.initial_0"].detach(), before)
