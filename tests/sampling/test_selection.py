"""The whole way from log probabilities to a token, against a slow reading of the definitions."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charnn.config import SampleOptions
from charnn.sampling.constraints import NoRepeatedNgram
from charnn.sampling.selection import STUCK, TokenContext, TokenSelector, draw, most_probable, no_quick_draw, quick_draw
from charnn.text.tokenizers import CharTokenizer
from charnn.text.vocabulary import Vocabulary

LETTERS = CharTokenizer(Vocabulary(("<unk>", "a", "b", "c", "\n"), (0, 4, 3, 2, 1), 4, 0), "stream")
PROBS = (0.05, 0.4, 0.3, 0.15, 0.1)
CONTEXT = [4, 1, 1, 2]
NUM_DRAWS = 100_000

EACH = {
    "none": {},
    "temperature": {"temperature": 0.7},
    "top-k": {"top_k": 3},
    "typical-p": {"typical_p": 0.5},
    "top-p": {"top_p": 0.75},
    "min-p": {"min_p": 0.4},
    "repetition": {"repetition_penalty": 1.5},
    "presence": {"presence_penalty": 0.7},
    "frequency": {"frequency_penalty": 0.4, "penalty_window": 3},
    "bias": {"logit_bias": ("c=1.5", "a=-1")},
    "allow": {"allow": "ab\\n"},
    "ban": {"ban": "b"},
    "no-repeat": {"no_repeat_ngram": 2},
}


def expected_probs(options):
    """Follow the stated order with dictionaries and loops."""
    logs = {id: math.log(prob) for id, prob in enumerate(PROBS)}
    lately = CONTEXT[-options.penalty_window :]
    for id in set(lately):
        logs[id] = logs[id] * options.repetition_penalty - options.presence_penalty
        logs[id] -= options.frequency_penalty * lately.count(id)
    for entry in options.logit_bias:
        token, nats = entry.split("=")
        logs[LETTERS.vocabulary.ids[token]] += float(nats)
    allowed = {1, 2, 3, 4}
    if options.allow:
        allowed &= {LETTERS.vocabulary.ids[text] for text in options.allow.replace("\\n", "\n")}
    if options.ban:
        allowed -= {LETTERS.vocabulary.ids[text] for text in options.ban}
    if options.no_repeat_ngram:
        size = options.no_repeat_ngram
        runs = [tuple(CONTEXT[place : place + size]) for place in range(len(CONTEXT) - size + 1)]
        allowed -= {id for id in allowed if (*CONTEXT[len(CONTEXT) - size + 1 :], id) in runs}
    weights = {id: math.exp(logs[id] / options.temperature) for id in allowed}

    def scaled(left):
        total = sum(left.values())
        return {id: weight / total for id, weight in left.items()}

    probs = scaled(weights)
    if options.top_k:
        probs = scaled(dict(sorted(probs.items(), key=lambda item: -item[1])[: options.top_k]))
    if options.typical_p:
        entropy = -sum(prob * math.log(prob) for prob in probs.values())
        order = sorted(probs, key=lambda id: abs(-math.log(probs[id]) - entropy))
        probs = scaled({id: probs[id] for id in fewest(order, probs, options.typical_p)})
    if options.top_p:
        order = sorted(probs, key=lambda id: -probs[id])
        probs = scaled({id: probs[id] for id in fewest(order, probs, options.top_p)})
    if options.min_p:
        probs = scaled({id: prob for id, prob in probs.items() if prob >= options.min_p * max(probs.values())})
    return probs


def fewest(order, probs, wanted):
    kept, total = [], 0.0
    for id in order:
        kept.append(id)
        total += probs[id]
        if total >= wanted:
            break
    return kept


COMBINED = [*itertools.combinations(EACH, 2), ("temperature", "top-k", "typical-p", "top-p", "min-p"), tuple(EACH)]
CASES = [*((name,) for name in EACH), *COMBINED]


@pytest.mark.parametrize("names", CASES, ids="+".join)
def test_a_hundred_thousand_draws_follow_the_exact_distribution(names):
    options = SampleOptions(**{name: value for case in names for name, value in EACH[case].items()})
    expected = expected_probs(options)
    rules = [NoRepeatedNgram(options.no_repeat_ngram, CONTEXT)] if options.no_repeat_ngram else []
    draws = np.random.default_rng(7).random(NUM_DRAWS)
    log_probs = np.tile(np.log(PROBS), (NUM_DRAWS, 1))
    chooser = TokenSelector(LETTERS, options)
    if rules or chooser.is_penalised:  # a row each is slow, and all are alike
        allowed = chooser.allowed(log_probs[:1], [TokenContext(CONTEXT, rules)])
        choice = draw(chooser.weights(np.tile(allowed, (NUM_DRAWS, 1)), options.temperature).log_probs_BV, draws)
    else:
        choice = chooser.select(log_probs, [TokenContext(CONTEXT, [])] * NUM_DRAWS, draws, 0)
    found = Counter(choice.ids_B.tolist())
    assert set(found) == set(expected)
    chi_square = sum((found[id] - NUM_DRAWS * prob) ** 2 / (NUM_DRAWS * prob) for id, prob in expected.items())
    assert chi_square < {1: 1e-9, 2: 10.8, 3: 13.8, 4: 16.3}[len(expected)]  # one run in a thousand


logits_rows = st.lists(st.floats(-20, 20, width=32), min_size=5, max_size=5).map(
    lambda row: np.array(row, dtype=np.float32)
)


@given(
    logits_rows,
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([0.3, 1.0, 1.7]),
    st.sampled_from([20.0, math.inf]),
    st.sampled_from(
        [{}, {"top_k": 2}, {"top_p": 0.8}, {"min_p": 0.3}, {"top_k": 3, "top_p": 0.6, "min_p": 0.1}, {"ban": "ab"}]
    ),
)
def test_the_short_way_is_the_long_way(logits, number, temperature, bound, filters):
    options = SampleOptions(temperature=temperature, **filters)
    chooser = TokenSelector(LETTERS, options)
    quick = quick_draw(chooser, options, bound)
    assert quick is not no_quick_draw
    log_probs = logits.astype(np.float64) - np.logaddexp.reduce(logits.astype(np.float64))
    choice = chooser.select(log_probs[None], [TokenContext([4], [])], np.array([number]), 0)
    found = quick(logits, number, temperature)
    if found is not None and choice.margin_B[0] > 1e-9:
        assert found[0] == choice.ids_B[0]
        assert found[1] == pytest.approx(log_probs[found[0]], abs=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_there_is_no_short_way_for_logits_whose_exponentials_overflow(temperature):
    options = SampleOptions(temperature=temperature)
    quick = quick_draw(TokenSelector(LETTERS, options), options, math.inf)
    logits = np.zeros(len(LETTERS.vocabulary), dtype=np.float32)
    limit = 300 * min(temperature, 1)
    for largest, is_short in ((limit - 1, True), (limit + 1, False), (math.nan, False), (-1000.0, True)):
        logits[2] = largest
        assert (quick(logits, 0.5, temperature) is not None) == is_short
    assert quick(logits - 1000, 0.5, temperature) is None  # nothing is left of their exponentials


def test_the_short_way_in_a_large_vocabulary():
    size = 5000
    tokens = ("<unk>", "\n", *(chr(0x4E00 + number) for number in range(size - 2)))
    tokenizer = CharTokenizer(Vocabulary(tokens, (1,) * size, 1, 0), "stream")
    logits = (5 * np.random.default_rng(3).standard_normal(size)).astype(np.float32)
    log_probs = logits.astype(np.float64) - np.logaddexp.reduce(logits.astype(np.float64))
    for filters in ({"top_p": 0.5}, {"top_p": 0.9999}, {"top_k": 40}, {}):
        options = SampleOptions(**filters)
        chooser = TokenSelector(tokenizer, options)
        quick = quick_draw(chooser, options, 50.0)
        for number in np.linspace(0, 0.999, 37):
            choice = chooser.select(log_probs[None], [TokenContext([1], [])], np.array([number]), 0)
            assert quick(logits, number, 1.0)[0] == choice.ids_B[0]


@pytest.mark.parametrize(
    "options",
    [{"typical_p": 0.5}, {"logit_bias": ("a=1",)}, {"presence_penalty": 1.0}, {"no_repeat_ngram": 2}, {"match": "a"}],
    ids=str,
)
def test_there_is_no_short_way_where_more_is_asked_for(options):
    made = SampleOptions(**options)
    assert quick_draw(TokenSelector(LETTERS, made), made, 20.0) is no_quick_draw


def test_a_choice_says_how_near_another_one_was():
    log_probs = np.log(np.array([[0.25, 0.5, 0.25]] * 2))
    far, near = draw(log_probs, np.array([0.5, 0.25 + 1e-7])).margin_B
    assert far == pytest.approx(0.25 / (2 * 0.25 * 0.75), rel=1e-6)
    assert near == pytest.approx(1e-7 / (2 * 0.25 * 0.75), rel=1e-3)
    assert most_probable(log_probs).margin_B == pytest.approx(np.full(2, np.log(2) / 2))


def test_moving_the_log_probabilities_by_less_than_the_margin_moves_no_choice():
    generator = np.random.default_rng(5)
    log_probs = np.log(generator.dirichlet(np.ones(6), size=2000))
    draws = generator.random(2000)
    choice = draw(log_probs, draws)
    size = np.minimum(choice.margin_B, 0.01)[:, None] * 0.99
    for _ in range(20):
        moved = draw(log_probs + size * generator.choice([-1, 1], size=log_probs.shape), draws)
        np.testing.assert_array_equal(moved.ids_B, choice.ids_B)


def test_a_stream_that_may_write_nothing_is_stuck_and_others_are_not():
    options = SampleOptions(no_repeat_ngram=1, ban="\\n")
    rows = np.tile(np.log(PROBS), (2, 1))
    writers = [TokenContext(ids, [NoRepeatedNgram(1, ids)]) for ids in ([1, 2, 3], [1, 2])]
    choice = TokenSelector(LETTERS, options).select(rows, writers, np.array([0.5, 0.5]), 0)
    assert choice.ids_B.tolist() == [STUCK, 3]


def test_the_temperature_moves_in_a_straight_line_over_the_length():
    chooser = TokenSelector(LETTERS, SampleOptions(temperature=1.5, final_temperature=0.5, length=5))
    assert [chooser.temperature(place) for place in range(5)] == [1.5, 1.25, 1.0, 0.75, 0.5]
    assert TokenSelector(LETTERS, SampleOptions(temperature=1.5)).temperature(3) == 1.5
    assert TokenSelector(LETTERS, SampleOptions(temperature=1.5, final_temperature=0.5, length=1)).temperature(0) == 1.5
    assert TokenSelector(LETTERS, SampleOptions(greedy=True)).temperature(3) == 0
