import math

import pytest

from charnn.analysis.minimal_pairs import ScoredPair, accuracies, read_pairs, wilson_interval
from charnn.errors import TextError
from charnn.scoring.nbest import Best, Hypothesis, combined, read_hypotheses
from charnn.text.tables import joined


def judged(*margins, values=None):
    lines = ["good\tbad\tkind", *(f"g{number}\tb\t{(values or 'x' * 99)[number]}" for number in range(len(margins)))]
    pairs = read_pairs("p.tsv", lines).pairs
    return [ScoredPair(pair, margin, 0.0) for pair, margin in zip(pairs, margins, strict=True)]


def test_ties_count_as_half_and_are_reported():
    (overall,) = accuracies(judged(1.0, -2.0, 0.0, 3.0), [])
    assert (overall.accuracy, overall.num_ties, overall.num_pairs) == (2.5 / 4, 1, 4)
    assert overall.mean_margin_nats == pytest.approx(0.5)
    (rounding,) = accuracies(judged(9e-6, -9e-6), [])
    assert rounding.num_ties == 2


def test_each_value_of_each_category_has_its_accuracy():
    overall, first, second = accuracies(judged(1.0, -1.0, 1.0, values="aba"), ["kind"])
    assert overall.accuracy == pytest.approx(2 / 3)
    assert (first.category, first.value, first.accuracy, first.num_pairs) == ("kind", "a", 1.0, 2)
    assert (second.value, second.accuracy) == ("b", 0.0)


def test_the_interval_is_wilsons():
    # Wilson (1927) for 8 of 10, by hand: centre (0.8 + 1.92073) / (1 + 0.384146) ...
    low, high = wilson_interval(8, 10)
    assert (low, high) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert wilson_interval(0, 5)[0] == 0.0
    assert wilson_interval(5, 5)[1] == pytest.approx(1.0)
    for share in (low, high):  # where the normal test of a share just rejects 8 of 10
        assert abs(0.8 - share) / math.sqrt(share * (1 - share) / 10) == pytest.approx(1.959964)


@pytest.mark.parametrize(
    ("prefix", "continuation", "expected"),
    [
        ("the keys", "are", "the keys are"),
        ("the keys ", "are", "the keys are"),
        ("a", "\tb", "a\tb"),
        ("", "are", "are"),
        ("a", "", "a"),
    ],
)
def test_a_prefix_is_joined_with_a_space_unless_there_is_one(prefix, continuation, expected):
    assert joined(prefix, continuation) == expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "p.tsv: is empty; a file of pairs begins with a header"),
        (["good\twrong"], "p.tsv:1: found the columns good, wrong, but there must be good and bad"),
        (["good\tbad\tgood"], "p.tsv:1: found a column twice"),
        (["good\tbad"], "p.tsv: contains a header but no pair"),
        (["good\tbad", "a\tb", "a"], "p.tsv:3: found 1 where the header has 2 columns"),
    ],
)
def test_what_is_wrong_with_a_file_of_pairs_is_named(lines, message):
    with pytest.raises(TextError) as error:
        read_pairs("p.tsv", lines)
    assert str(error.value).startswith(message)


def test_blank_lines_in_a_file_of_pairs_are_passed_over():
    found = read_pairs("p.tsv", ["kind\tgood\tprefix\tbad", "x\ta\tp\tb", "", "y\tc\tq\td"])
    assert [(pair.line, pair.good, pair.bad) for pair in found.pairs] == [(2, "p a", "p b"), (4, "q c", "q d")]
    assert found.has_prefix
    assert found.categories == ["kind"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("u1\t-3", "n.tsv:2: found 2 of three columns"),
        ("u1\t-3\ta\tb", "n.tsv:2: found 4 of three columns"),
        ("u1\tx\ta", "n.tsv:2: found the score 'x', which is no number"),
        ("u1\tnan\ta", "n.tsv:2: found the score 'nan'"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(line, message):
    found = read_hypotheses("n.tsv", ["u1\t-3.5\ta b", line])
    assert next(found) == Hypothesis("u1", "-3.5", "a b")
    with pytest.raises(TextError) as error:
        next(found)
    assert str(error.value).startswith(message)


def test_scores_are_added_up_and_the_best_wins():
    hypothesis = Hypothesis("u1", "-10", "a b c")
    assert combined(hypothesis, -4.0, lm_scale=0.5, word_penalty=-0.25) == pytest.approx(-10 - 2 - 0.75)
    best = Best()
    for id, total, text in [("u1", -3.0, "x"), ("u2", -9.0, "y"), ("u1", -2.0, "z"), ("u1", -2.0, "later")]:
        best.take(id, total, text)
    assert best.of_each == {"u1": (-2.0, "z"), "u2": (-9.0, "y")}


def test_pairs_in_csv_are_those_in_tsv():
    tsv = ["kind\tgood\tbad", "number\tThe cats, I say, run.\tThe cats, I say, runs."]
    csv = ["kind,good,bad", 'number,"The cats, I say, run.","The cats, I say, runs."']
    assert read_pairs("p.csv", csv) == read_pairs("p.tsv", tsv)
