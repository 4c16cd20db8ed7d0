import numpy as np
import pytest

from charnn.analysis.comparison import MAX_BLOCKS, MIN_BLOCKS, Comparison
from charnn.scoring.scores import Score, ScoredToken

LOG2 = float(np.log(2))


def unit(number, text, bits):
    tokens = [
        ScoredToken(letter, 1, place, -each * LOG2, False)
        for place, (letter, each) in enumerate(zip(text, bits, strict=True))
    ]
    return Score(
        number, text, log_prob_nats=-sum(bits) * LOG2, num_tokens=len(text), num_chars=len(text), tokens=tokens
    )


def compared(pairs, same=True, places=3, independent=True):
    comparison = Comparison(same_vocabulary=same, are_independent=independent, num_differences=places)
    for number, (text, first, second) in enumerate(pairs, start=1):
        comparison.take(unit(number, text, first), unit(number, text, second), closes=(False, False))
    return comparison


def difference(comparison):
    return comparison.difference(num_resamples=500, seed=1, tolerance=0.01)


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


def test_a_difference_that_two_seeds_may_show_is_not_large():
    small = difference(
        compared([("abcde", [2.0] * 5, [2.0 - 0.01 - 0.001 * (number % 3)] * 5) for number in range(100)])
    )
    assert small.is_clear
    assert not small.is_large
    assert small.share == pytest.approx(0.011 / 1.989, rel=0.05)
    assert difference(compared(random_pairs(0.2))).is_large


def test_lines_that_depend_on_each_other_are_drawn_in_blocks():
    generator = np.random.default_rng(6)
    scenes = np.repeat(generator.normal(0.0, 1.0, 20), 20)  # twenty lines in a row share what makes them hard
    pairs = [
        ("a", [5.0], [5.0 - gain + noise]) for gain, noise in zip(scenes, generator.normal(0, 0.1, 400), strict=True)
    ]
    blocks, alone = (difference(compared(pairs, places=0, independent=each)) for each in (False, True))
    assert blocks.high - blocks.low > 2.5 * (alone.high - alone.low)


def test_too_few_lines_say_nothing_of_chance():
    few = difference(compared(random_pairs(0.5, MIN_BLOCKS - 1)))
    assert (few.low, few.high, few.is_clear) == (None, None, False)
    assert few.num_lines == MIN_BLOCKS - 1
    many = difference(compared([("a", [1.0], [2.0])] * (MAX_BLOCKS + 5), places=0))
    assert many.num_lines == MAX_BLOCKS + 5
    assert (many.low, many.high) == pytest.approx((1, 1))


def test_the_places_of_the_greatest_differences_are_found():
    comparison = compared([("abc", [1, 2, 3], [1, 9, 1]), ("de", [4, 4], [0.5, 4])])
    better, worse = comparison.largest_differences()
    assert [(place.line, place.start, place.text, place.gain_bits) for place in better] == [
        (2, 0, "d", 3.5),
        (1, 2, "c", 2.0),
    ]
    assert [(place.line, place.text, place.gain_bits) for place in worse] == [(1, "b", -7.0)]
    assert better[1].context == "ab"
    assert (worse[0].first_bits, worse[0].second_bits) == pytest.approx((2, 9))
    assert compared([("abc", [1, 2, 3], [1, 9, 1])], places=0).largest_differences() == ([], [])


def test_words_are_set_beside_each_other_where_vocabularies_differ():
    letters = unit(1, "a bc", [1, 1, 2, 3])
    words = Score(
        1,
        "a bc",
        log_prob_nats=-9 * LOG2,
        num_tokens=2,
        num_chars=4,
        tokens=[ScoredToken("a", 1, 0, -4 * LOG2, False), ScoredToken("bc", 2, 2, -5 * LOG2, False)],
    )
    comparison = Comparison(same_vocabulary=False, are_independent=True, num_differences=5)
    comparison.take(letters, words, closes=(False, False))
    better, worse = comparison.largest_differences()
    assert [(place.text, place.gain_bits) for place in better] == [("bc", 1.0)]
    assert [(place.text, place.gain_bits) for place in worse] == [("a", -3.0)]
