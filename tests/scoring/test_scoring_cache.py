import math

import numpy as np
import pytest

from charnn.config import Architecture, ScoreOptions
from charnn.inference.engine import Engine, log_softmax
from charnn.scoring import cache
from charnn.scoring.cache import CachedEstimator, CacheSettings, fit_cache
from charnn.scoring.scorer import score_units
from charnn.scoring.tuning import HeldOut, fit_engine_temperature, fit_interpolation_weights
from tests.conftest import ramp_weights
from tests.scoring.test_estimators import ENGINE, FIVE


def by_hand(texts, settings):
    """Return log P of each token: every place before is looked at, one at a time."""
    found, seen = [], []
    for text in texts:
        state, context = ENGINE.initial_state(), 5
        for target in [*FIVE.encode(text).tolist(), 5]:
            outputs, state = ENGINE.forward(np.array([[context]]), state)
            now = outputs[0, 0].astype(np.float64)
            prob = math.exp(log_softmax(ENGINE.logits(outputs))[0, 0, target])
            reached = seen[-settings.size :]
            if reached:
                similar = [math.exp(settings.sharpness * float(now @ then)) for then, _ in reached]
                share = sum(each for each, (_, next_id) in zip(similar, reached, strict=True) if next_id == target)
                prob = (1 - settings.weight) * prob + settings.weight * share / sum(similar)
            found.append(math.log(prob))
            seen.append((now, target))
            context = target
    return found


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("at_once", [1, 2, 256])
def test_a_cache_is_what_its_equation_says(size, at_once, monkeypatch):
    monkeypatch.setattr("charnn.scoring.scorer.MAX_CHUNK_LENGTH", at_once)
    settings = CacheSettings(size, 0.3, 0.9)
    texts = ["abcab", "", "dab", "abcéd"]
    scores = score_units(CachedEstimator(ENGINE, settings), FIVE, texts, ScoreOptions(), with_tokens=True)
    found = [token.log_prob_nats for score in scores for token in score.tokens]
    assert found == pytest.approx(by_hand(texts, settings), abs=1e-5)


def held_out(ids):
    ids = np.array(ids)
    return HeldOut([(np.concatenate(([5], ids[:-1]))[:, None], ids[:, None])])


def test_what_is_fitted_makes_the_held_out_text_most_probable(monkeypatch):
    monkeypatch.setattr(cache, "CHUNK_LENGTH", 7)
    ids = [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 0, 5] * 4
    fitted = fit_cache(ENGINE, held_out(ids), size=10, temperature=1.0, weight=None, sharpness=None)

    def loss(settings):
        reader = CachedEstimator(ENGINE, settings).new_reader(1)
        ((contexts, targets),) = held_out(ids).units
        return -float(reader.read(contexts, targets, whole=False).log_probs_TB.sum())

    least = loss(fitted)
    assert fitted.weight > 0.01
    assert least < loss(CacheSettings(10, 0.0, 0.0)) - 0.1
    for weight in (fitted.weight * 0.8, min(0.99, fitted.weight * 1.2)):
        assert loss(CacheSettings(10, weight, fitted.sharpness)) > least
    for sharpness in cache.SHARPNESSES:
        given = fit_cache(ENGINE, held_out(ids), size=10, temperature=1.0, weight=None, sharpness=sharpness)
        assert loss(given) >= least - 1e-6
    assert fit_cache(ENGINE, held_out(ids), size=10, temperature=1.0, weight=0.2, sharpness=None).weight == 0.2


def test_a_cache_that_helps_nothing_gets_no_weight():
    ids = np.random.default_rng(1).integers(0, 6, 400).tolist()
    shape = Architecture("lstm", 6, 4, 6, 1)
    flat = Engine(shape, {name: array * 0 for name, array in ramp_weights(shape).items()})
    assert fit_cache(flat, held_out(ids), size=5, temperature=1.0, weight=None, sharpness=None).weight < 0.1


def test_a_cache_reads_one_text_at_a_time():
    with pytest.raises(ValueError, match="one text"):
        CachedEstimator(ENGINE, CacheSettings(5, 0.1, 0.1)).new_reader(2)


def test_interpolation_weights_are_found_that_a_text_was_made_with():
    generator = np.random.default_rng(3)
    distributions = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]])
    text = generator.choice(4, 20_000, p=0.3 * distributions[0] + 0.7 * distributions[1])
    assert fit_interpolation_weights(np.log(distributions[:, text])) == pytest.approx([0.3, 0.7], abs=0.02)


def test_the_temperature_that_is_fitted_is_where_the_loss_is_lowest():
    generator, state, ids = np.random.default_rng(5), ENGINE.initial_state(), [5]
    for _ in range(400):  # drawn from the model itself, at a temperature of 1.3
        logits, state = ENGINE.step(np.array(ids[-1:]), state)
        ids.append(int(generator.choice(6, p=np.exp(log_softmax(logits / 1.3)[0]))))
    ids = ids[1:]
    temperature = fit_engine_temperature(ENGINE, held_out(ids))
    ((contexts, targets),) = held_out(ids).units
    outputs, _ = ENGINE.forward(contexts, ENGINE.initial_state())
    logits = ENGINE.logits(outputs)

    def loss(at):
        return -float(np.take_along_axis(log_softmax(logits / at), targets[..., None], axis=-1).sum())

    assert all(loss(temperature) <= loss(other) + 1e-3 for other in (0.5, temperature * 0.9, temperature * 1.1, 2.0))
