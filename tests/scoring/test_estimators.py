import copy
import itertools
import math

import numpy as np
import pytest

from charnn.config import Architecture, ScoreOptions
from charnn.inference.engine import Engine
from charnn.inference.torch_engine import TorchEngine
from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import estimate
from charnn.ngrams.mixture import Mixture
from charnn.ngrams.spelling import NUM_CODE_POINTS, UniformSpelling
from charnn.scoring.cache import CachedEstimator, CacheSettings
from charnn.scoring.estimators import Interpolation, MixedEstimator, NetworkEstimator
from charnn.scoring.scorer import score_units
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import Vocabulary
from tests.conftest import ARCHITECTURES, ramp_weights

FIVE = CharTokenizer(Vocabulary(("<unk>", "a", "b", "c", "d", "\n"), (1, 4, 3, 2, 2, 3), 5, 0), "line")
"""Five characters, one of them any that is unknown, and the line's end."""
SHAPE = Architecture("lstm", 6, 4, 6, 1)
ENGINE = Engine(SHAPE, ramp_weights(SHAPE, 0.9))
TEXT = np.array([1, 2, 3, 5, 1, 1, 0, 5, 4, 2, 5, 3, 3, 1, 5] * 3)


WEIGHTS = np.array([[0.9, 0.3, 0.5, 0.3, 0.2], [0.7, 0.4, 0.8, 0.1, 0.1], [1.1, -0.1, 0.2, 0.2, 0.6]])


def ngrams(order=3, *, cut=True):
    counts = count_ngrams(TEXT, order=order, vocab_size=6, boundary_id=5, cut_at_boundary=cut)
    return estimate(counts, 6)


def mixed(boundary_id=5):
    mixture = Mixture(ngrams(cut=boundary_id is not None), WEIGHTS)
    return MixedEstimator(NetworkEstimator(ENGINE), mixture, boundary_id=boundary_id)


def cached(weight=0.3, sharpness=0.7, size=8):
    estimator = CachedEstimator(ENGINE, CacheSettings(size, weight, sharpness))
    list(score_units(estimator, FIVE, ["abba", "cab", "déd"], ScoreOptions()))
    return estimator


def other_engine():
    shape = Architecture("gru", 6, 3, 5, 2)
    return Engine(shape, ramp_weights(shape, 0.6))


ESTIMATORS = {
    "network": lambda: NetworkEstimator(ENGINE),
    "temperature": lambda: NetworkEstimator(ENGINE, 1.7),
    "layer by layer": lambda: NetworkEstimator(
        Engine(Architecture("leaky", 6, 4, 6, 1), ramp_weights(Architecture("leaky", 6, 4, 6, 1)))
    ),
    "mixed": mixed,
    "cached": cached,
    "cached and mixed": lambda: MixedEstimator(cached(), Mixture(ngrams(), WEIGHTS), boundary_id=5),
    "several": lambda: Interpolation([NetworkEstimator(ENGINE), NetworkEstimator(other_engine())], [0.25, 0.75]),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("text", ["", "abé", "dacab" * 4])
def test_a_target_has_its_share_of_the_whole_distribution(name, text):
    (plain,) = score_units(ESTIMATORS[name](), FIVE, [text], ScoreOptions(), with_tokens=True)
    (whole,) = score_units(ESTIMATORS[name](), FIVE, [text], ScoreOptions(per_token=True, alternatives=6))
    assert plain.log_prob_nats == pytest.approx(whole.log_prob_nats, abs=1e-5)
    for one, other in zip(plain.tokens, whole.tokens, strict=True):
        assert one.log_prob_nats == pytest.approx(other.log_prob_nats, abs=1e-6)
        probs = [math.exp(nats) for _, nats in other.alternatives]
        assert sum(probs) == pytest.approx(1, abs=1e-7)  # n-grams are kept in single precision
        assert probs == sorted(probs, reverse=True)
        assert other.entropy_nats == pytest.approx(-sum(p * math.log(p) for p in probs), abs=1e-9)
        assert other.alternatives[other.rank - 1][1] == pytest.approx(other.log_prob_nats, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if "cached" not in name])
@pytest.mark.parametrize(
    "options", [ScoreOptions(), ScoreOptions(per_token=True, alternatives=3)], ids=["sum", "tokens"]
)
def test_texts_with_a_common_beginning_have_the_scores_that_they_have_alone(name, options):
    texts = [("dacab" * 9) + end for end in ("", "b", "bcé", "bcd")]
    together = list(score_units(ESTIMATORS[name](), FIVE, texts, options))
    for text, score in zip(texts, together, strict=True):
        (alone,) = score_units(ESTIMATORS[name](), FIVE, [text], options)
        assert (score.text, score.num_tokens) == (text, len(text) + 1)
        assert score.log_prob_nats == pytest.approx(alone.log_prob_nats, abs=1e-5)
        for one, other in zip(score.tokens, alone.tokens, strict=True):
            assert (one.token, one.rank) == (other.token, other.rank)
            assert one.log_prob_nats == pytest.approx(other.log_prob_nats, abs=1e-6)


@pytest.mark.parametrize(("ends", "num_streams"), [("abcd", 4), (["b", "ab", "abc"], 3)], ids=["at-once", "later"])
@pytest.mark.parametrize("num_tokens", [31, 32])
def test_a_common_beginning_is_read_once_if_it_is_long(num_tokens, ends, num_streams):
    estimator, begun = NetworkEstimator(ENGINE), []
    new_reader = estimator.new_reader
    estimator.new_reader = lambda num: begun.append(num) or new_reader(num)
    list(score_units(estimator, FIVE, ["d" * num_tokens + end for end in ends], ScoreOptions()))
    assert begun == [num_streams if num_tokens < 32 else 1]


def finished_and_unfinished(estimator, spelling=None, longest=6):
    """Return the probability of all strings up to a length with their ends, and of the longest ones that go on."""
    letters = ["a", "b", "c", "d", "é"]
    options = ScoreOptions(spell=spelling is not None)

    def mass(texts, options):
        weight = {text: (NUM_CODE_POINTS - spelling.num_known) ** text.count("é") if spelling else 1 for text in texts}
        scores = score_units(estimator, FIVE, texts, options, spelling=spelling)
        return math.fsum(math.exp(score.log_prob_nats) * weight[score.text] for score in scores)

    strings = [
        ["".join(letters_) for letters_ in itertools.product(letters, repeat=length)] for length in range(longest + 1)
    ]
    finished = sum(mass(texts, options) for texts in strings)
    going_on = mass(strings[-1], ScoreOptions(eos=False, spell=options.spell)) - mass(strings[-1], options)
    return finished, going_on


@pytest.mark.parametrize(("name", "longest"), [("network", 5), ("mixed", 5), ("several", 4), ("temperature", 4)])
def test_all_strings_of_five_characters_have_probability_one_together(name, longest):
    assert sum(finished_and_unfinished(ESTIMATORS[name](), longest=longest)) == pytest.approx(1, abs=1e-6)


def test_all_strings_have_probability_one_together_where_unknown_characters_are_spelled():
    spelling = UniformSpelling(num_known=5, is_run=False)
    finished, going_on = finished_and_unfinished(NetworkEstimator(ENGINE), spelling, longest=4)
    assert finished + going_on == pytest.approx(1, abs=1e-6)
    assert finished > 0.3


def test_all_strings_have_probability_one_together_after_what_a_cache_holds():
    class Frozen(CachedEstimator):
        """A cache that every text finds as it was at first."""

        def new_reader(self, num_streams):
            again = copy.copy(first)
            again.memory = copy.copy(first.memory)
            return again.new_reader(num_streams)

    first = cached()
    estimator = Frozen(ENGINE, first.settings)
    assert sum(finished_and_unfinished(estimator, longest=4)) == pytest.approx(1, abs=1e-6)


def test_a_mixture_is_the_same_in_one_piece_and_in_many():
    contexts = np.array([[5, 5], [1, 2], [2, 0], [3, 4], [1, 1], [4, 2], [2, 2]])
    targets = np.concatenate((contexts[1:], [[5, 5]]))
    whole = mixed().new_reader(2).read(contexts, targets, whole=False).log_probs_TB
    reader = mixed().new_reader(2)
    pieces = [
        reader.read(contexts[part], targets[part], whole=False).log_probs_TB
        for part in (slice(0, 1), slice(1, 4), slice(4, 7))
    ]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_the_context_of_ngrams_ends_at_a_boundary_for_lines_and_goes_on_for_running_text():
    contexts, targets = np.array([[5], [1], [2], [3], [5], [1]]), np.array([[1], [2], [3], [5], [1], [1]])
    network = NetworkEstimator(ENGINE).new_reader(1).read(contexts, targets, whole=True).log_probs_TBV
    for boundary_id, context in ((5, [5]), (None, [3, 5])):
        reader = mixed(boundary_id).new_reader(1)
        reader.read(contexts[:4], targets[:4], whole=False)
        found = reader.read(contexts[4:], targets[4:], whole=False).log_probs_TB
        probs, matched = ngrams(cut=boundary_id is not None).distribution(context)
        assert matched == len(context)
        own, ngram, *shares = WEIGHTS[matched]
        scores = np.exp(network[4, 0]) ** own * probs**ngram
        expected = shares[0] * scores / scores.sum() + shares[1] * np.exp(network[4, 0]) + shares[2] * probs
        assert math.exp(found[0, 0]) == pytest.approx(expected[1], rel=1e-5)


def test_memory_that_is_carried_is_that_of_one_long_text():
    texts = ["ab", "", "cadé", "b"]
    stream = CharTokenizer(FIVE.vocabulary, "stream")
    parts = [
        score.log_prob_nats
        for score in score_units(NetworkEstimator(ENGINE), stream, texts, ScoreOptions(state="carry"))
    ]
    (whole,) = score_units(NetworkEstimator(ENGINE), stream, ["\n".join(texts)], ScoreOptions())
    assert sum(parts) == pytest.approx(whole.log_prob_nats, abs=1e-5)
    assert len(parts) == 4


def test_several_models_are_the_mean_of_their_probabilities():
    engines = [ENGINE, other_engine()]
    alone = [
        next(score_units(NetworkEstimator(engine), FIVE, ["a"], ScoreOptions(eos=False))).log_prob_nats
        for engine in engines
    ]
    (both,) = score_units(
        Interpolation([NetworkEstimator(engine) for engine in engines], [0.2, 0.8]),
        FIVE,
        ["a"],
        ScoreOptions(eos=False),
    )
    assert math.exp(both.log_prob_nats) == pytest.approx(0.2 * math.exp(alone[0]) + 0.8 * math.exp(alone[1]), rel=1e-6)
    (first,) = score_units(
        Interpolation([NetworkEstimator(engine) for engine in engines], [1.0, 0.0]),
        FIVE,
        ["a"],
        ScoreOptions(eos=False),
    )
    assert first.log_prob_nats == pytest.approx(alone[0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_engine_on_torch_is_the_engine(architecture):
    engine = Engine(architecture, ramp_weights(architecture, 0.5))
    other = TorchEngine(engine, device="cpu")
    ids = np.random.default_rng(0).integers(0, 11, (12, 3))
    state, other_state = engine.initial_state(3), other.initial_state(3)
    for part in (ids[:5], ids[5:]):
        outputs, state = engine.forward(part, state)
        other_outputs, other_state = other.forward(part, other_state)
        np.testing.assert_allclose(other.logits(other_outputs), engine.logits(outputs), atol=5e-5)


def test_scoring_on_torch_gives_the_same_figures():
    texts = ["ab", "", "cadé" * 3]
    plain, other = (
        [score.log_prob_nats for score in score_units(NetworkEstimator(engine), FIVE, texts, ScoreOptions())]
        for engine in (ENGINE, TorchEngine(ENGINE, device="cpu"))
    )
    assert plain == pytest.approx(other, abs=1e-5)
