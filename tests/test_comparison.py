import numpy as np
import pytest

from charnn.scoring.comparison import FEWEST_BLOCKS, MOST_BLOCKS, Comparison
from charnn.scoring.scores import Score, ScoredToken

LOG2 = float(np.log(2))


def unit(number, text, bits):
    tokens = [
        ScoredToken(letter, 1, place, -each * LOG2, False)
        for place, (letter, each) in enumerate(zip(text, bits, strict=True))
    ]
    return Score(number, text, -sum(bits) * LOG2, num_tokens=len(text), num_chars=len(text), tokens=tokens)


def compared(pairs, same=True, places=3):
    comparison = Comparison(same_vocabulary=same, num_places=places)
    for number, (text, first, second) in enumerate(pairs, start=1):
        comparison.take(unit(number, text, first), unit(number, text, second), closes=(False, False))
    return comparison


def difference(comparison):
    return comparison.difference(per="character", num_resamples=500, seed=1)


def random_pairs(gain, num_lines=200):
    generator = np.random.default_rng(4)
    pairs = []
    for _ in range(num_lines):
        first = generator.uniform(1, 3, 5)
        pairs.append(("abcde", first.tolist(), (first - gain + generator.normal(0, 0.5, 5)).tolist()))
    return pairs


def test_a_clear_difference_is_clear_and_noise_is_not():
    clear = difference(compared(random_pairs(0.2)))
    assert clear.is_clear
    assert clear.low < clear.second - clear.first < clear.high < 0
    assert clear.second - clear.first == pytest.approx(-0.2, abs=0.05)
    assert not difference(compared(random_pairs(0.0))).is_clear
    same = difference(compared([(text, first, first) for text, first, _ in random_pairs(0.0)]))
    assert (same.low, same.high, same.is_clear) == (0, 0, False)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        gains = generator.normal(0.1, 1.0, 60)
        found = difference(compared([("a", [5.0], [5.0 - gain]) for gain in gains], places=0))
        covered += found.low <= -0.1 <= found.high
    assert 88 <= covered <= 99


def test_too_few_lines_say_nothing_of_chance():
    few = difference(compared(random_pairs(0.5, FEWEST_BLOCKS - 1)))
    assert (few.low, few.high, few.is_clear) == (None, None, False)
    assert few.num_units == FEWEST_BLOCKS - 1
    many = difference(compared([("a", [1.0], [2.0])] * (MOST_BLOCKS + 5), places=0))
    assert many.num_units == MOST_BLOCKS
    assert (many.low, many.high) == pytest.approx((1, 1))


def test_the_places_of_the_greatest_differences_are_found():
    comparison = compared([("abc", [1, 2, 3], [1, 9, 1]), ("de", [4, 4], [0.5, 4])])
    better, worse = comparison.places()
    assert [(place.line, place.start, place.text, place.gain_bits) for place in better] == [
        (2, 0, "d", 3.5),
        (1, 2, "c", 2.0),
    ]
    assert [(place.line, place.text, place.gain_bits) for place in worse] == [(1, "b", -7.0)]
    assert better[1].context == "ab"
    assert (worse[0].first_bits, worse[0].second_bits) == pytest.approx((2, 9))
    assert compared([("abc", [1, 2, 3], [1, 9, 1])], places=0).places() == ([], [])


def test_words_are_set_beside_each_other_where_vocabularies_differ():
    letters = unit(1, "a bc", [1, 1, 2, 3])
    words = Score(
        1,
        "a bc",
        -9 * LOG2,
        num_tokens=2,
        num_chars=4,
        tokens=[ScoredToken("a", 1, 0, -4 * LOG2, False), ScoredToken("bc", 2, 2, -5 * LOG2, False)],
    )
    comparison = Comparison(same_vocabulary=False, num_places=5)
    comparison.take(letters, words, closes=(False, False))
    better, worse = comparison.places()
    assert [(place.text, place.gain_bits) for place in better] == [("bc", 1.0)]
    assert [(place.text, place.gain_bits) for place in worse] == [("a", -3.0)]
