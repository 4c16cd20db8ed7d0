"""Scoring a series of numbers: its lines are records of one running text."""

import numpy as np
import pytest

from charnn.config import ScoreOptions
from charnn.errors import OptionError
from charnn.scoring.build import build_scorer
from charnn.storage.model_directory import read_directed, read_model
from tests.conftest import train_quietly

LINES = ["3 1", "", "4", "1 <unk> 5", "9", "2 6"]


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    numbers = np.random.default_rng(1).integers(0, 10, 600).astype(str)
    options = ["--tokenizer", "bins", "--direction", "both", "--steps", 20, "--batch-size", 4, "--bptt", 16]
    return train_quietly(tmp_path_factory.mktemp("series"), "\n".join(numbers) + "\n", *options)


def log_probs(model, texts, options):
    scores = list(build_scorer([model], options).scores(texts, options, with_tokens=True))
    return scores, [token.log_prob_nats for score in scores for token in score.tokens]


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("unit", ["line", "document"])
def test_the_units_of_a_series_are_scored_as_one_running_text(series, direction, unit):
    (model,) = read_directed(series, direction)
    scores, found = log_probs(model, LINES, ScoreOptions(unit=unit))
    (whole, *_), expected = log_probs(model, ["\n".join(LINES)], ScoreOptions(unit="stream"))
    order = [number for unit_ids in units_in_order(direction) for number in unit_ids]
    np.testing.assert_allclose([found[place] for place in order], expected, atol=1e-6)
    assert [score.num_tokens for score in scores] == [2, 0, 1, 3, 1, 2]
    assert sum(score.log_prob_nats for score in scores) == pytest.approx(whole.log_prob_nats)
    assert [score.num_unknown for score in scores] == [0, 0, 0, 1, 0, 0]
    assert [score.text for score in scores] == LINES
    assert {score.num_chars for score in scores} == {0}


def units_in_order(direction):
    """Return the places of the tokens in the records, in the order in which the running text has them."""
    places, first = [], 0
    for line in LINES:
        num = len(line.split())
        places.append([*range(first, first + num)])
        first += num
    return places


def test_blocks_of_any_size_give_the_same_scores(series, monkeypatch):
    model = read_model(series)
    _, expected = log_probs(model, LINES, ScoreOptions())
    for size in (1, 2, 4):
        monkeypatch.setattr("charnn.scoring.series.UNITS_AT_ONCE", size)
        np.testing.assert_allclose(log_probs(model, LINES, ScoreOptions())[1], expected, atol=1e-6)


def test_without_bos_the_first_value_alone_is_not_scored(series):
    model = read_model(series)
    scores, found = log_probs(model, LINES, ScoreOptions(bos=False))
    assert [score.num_tokens for score in scores] == [1, 0, 1, 3, 1, 2]
    assert [place for place, value in enumerate(found) if value is None] == [0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ScoreOptions(by_word=True), "--by-word: found .*, a model of numbers, which have no words; leave it out"),
        (ScoreOptions(spell=True), "--spell: found .*, a model of numbers, which have no words; leave it out"),
        (
            ScoreOptions(format="srilm"),
            "--format srilm: found .*, a model of numbers, which have no words; leave it out",
        ),
        (ScoreOptions(column=("a", "b")), "--column: found 2 columns, but .* reads one series; name one of them"),
        (ScoreOptions(pairs="p.tsv"), "--pairs: found .*, a model of one series, whose parts are not independent; "),
    ],
)
def test_what_is_for_text_is_refused(series, options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        build_scorer([read_model(series)], options)


def test_numbers_in_lines_are_independent_series(tmp_path):
    run = train_quietly(tmp_path, "1 2 3\n3 2 1\n" * 40, "--tokenizer", "bins", "--unit", "line", "--steps", 10)
    model = read_model(run)
    options = ScoreOptions()
    together, _ = log_probs(model, ["1 2 3", "3 2 1"], options)
    alone, _ = log_probs(model, ["3 2 1"], options)
    assert together[1].num_tokens == 4  # with the boundary
    assert together[1].log_prob_nats == pytest.approx(alone[0].log_prob_nats, abs=1e-5)
    assert build_scorer([model], ScoreOptions(pairs="p.tsv")).tokenizer is model.tokenizer
