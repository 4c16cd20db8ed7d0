import numpy as np
import pytest

from charnn.config import ScoreOptions
from charnn.ngrams.adaptive_model import AdaptiveModel
from charnn.ngrams.context_index import TextIndex
from charnn.scoring.adapting import AdaptiveEstimator
from charnn.scoring.estimators import NetworkEstimator
from charnn.scoring.scorer import score_units
from charnn.storage.adaptation import contexts_of
from tests.scoring.test_estimators import ENGINE, FIVE, TEXT, finished_and_unfinished


def adaptive_model():
    families, experts = contexts_of(FIVE)
    return AdaptiveModel(families, experts, [TextIndex(family, TEXT, 6) for family in families], 6)


def estimator():
    return AdaptiveEstimator(NetworkEstimator(ENGINE), adaptive_model())


def scored(found, texts, **options):
    return [score.log_prob_nats for score in score_units(found, FIVE, texts, ScoreOptions(**options))]


def test_what_is_learned_is_kept_from_unit_to_unit_and_units_are_read_in_order():
    found = scored(estimator(), ["abdca", "dab", "abdca", "abdca"])
    (first,) = scored(estimator(), ["abdca"])
    assert found[0] == first
    assert found[3] > found[2] > found[0]


def test_contexts_do_not_extend_beyond_the_beginning_of_a_unit():
    model = adaptive_model()
    (whole,) = scored(AdaptiveEstimator(NetworkEstimator(ENGINE), model), ["ab"])
    keys = model.counts._slots
    assert whole < 0
    lengths = [expert.num_digits for expert in model.experts if not expert.family]
    met = [length for length, slots in zip(lengths, keys, strict=False) if slots]
    assert met == [2, 3], "the boundary, a and b, and no token before"


def test_a_text_read_in_pieces_is_scored_as_in_one():
    contexts = np.array([5, 1, 2, 0, 3, 4, 5, 1, 2, 2])[:, None]
    targets = np.concatenate((contexts[1:], [[5]]))
    whole = estimator().new_reader(1).read(contexts, targets, whole=True)
    reader = estimator().new_reader(1)
    parts = (slice(0, 1), slice(1, 4), slice(4, 10))
    pieces = [reader.read(contexts[part], targets[part], whole=False).log_probs_TB for part in parts]
    np.testing.assert_allclose(np.concatenate(pieces), whole.log_probs_TB, atol=1e-5)
    assert np.exp(whole.log_probs_TBV).sum(axis=-1) == pytest.approx(np.ones((10, 1)), abs=1e-12)
    np.testing.assert_array_equal(np.take_along_axis(whole.log_probs_TBV[:, 0], targets, axis=1), whole.log_probs_TB)


def test_all_strings_have_probability_one_together_after_what_was_learned():
    class Frozen(AdaptiveEstimator):
        """An estimator that every text finds as it was at first."""

        def new_reader(self, num_streams):
            return AdaptiveEstimator(self.inner, learned.model.copy()).new_reader(num_streams)

    learned = estimator()
    scored(learned, ["abba", "cab", "d\u00e9d"])
    frozen = Frozen(learned.inner, learned.model)
    assert sum(finished_and_unfinished(frozen, longest=3)) == pytest.approx(1, abs=1e-6)


def test_one_text_at_a_time():
    with pytest.raises(ValueError, match="one text"):
        estimator().new_reader(2)
