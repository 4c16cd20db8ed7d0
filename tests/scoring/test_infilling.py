import numpy as np
import pytest

from charnn.config import Architecture, ScoreOptions
from charnn.inference.engine import Engine
from charnn.scoring import estimators
from charnn.scoring.cloze import find_gap
from charnn.scoring.infilling import propose, rank
from charnn.scoring.scorer import estimator_of, score_units
from tests.conftest import ramp_weights
from tests.sampling.test_constraints import WORDS
from tests.sampling.test_sampler import LETTERS, LINES

CELLS = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "mingru": {"cell": "mingru"},
    "attention": {"attention_window": 8, "attention_size": 4, "embedding_order": 3},
}


def engines_for(tokenizer, *directions, cell="lstm", **further):
    made = {}
    for direction in directions:
        architecture = Architecture(cell, len(tokenizer.vocabulary), 4, 6, 1, direction=direction, **further)
        made[direction] = Engine(architecture, ramp_weights(architecture, 0.8))
    return made


@pytest.mark.parametrize("directions", [("forward",), ("backward",), ("forward", "backward")])
def test_candidates_are_ranked_by_the_score_of_the_sentence(directions):
    engines = engines_for(LINES, *directions)
    candidates = ["a", "bc", "cab", ""]
    ranked = rank(engines, LINES, ("ab", "ba"), candidates)
    expected = {}
    for candidate in candidates:
        scores = [
            next(score_units(estimator_of(engine, LINES), LINES, [f"ab{candidate}ba"], ScoreOptions()))
            for engine in engines.values()
        ]
        expected[candidate] = np.mean([score.log_prob_nats for score in scores])
    assert [filling.text for filling in ranked] == sorted(expected, key=lambda text: -expected[text])
    for filling in ranked:
        assert filling.log_prob_nats == pytest.approx(expected[filling.text])
    assert sum(filling.share for filling in ranked) == pytest.approx(1)
    assert ranked[0].share / ranked[1].share == pytest.approx(np.exp(ranked[0].log_prob_nats - ranked[1].log_prob_nats))


@pytest.mark.parametrize("directions", [("forward",), ("backward",), ("forward", "backward")])
def test_a_wide_search_finds_every_filling(directions):
    engines = engines_for(LETTERS, *directions)
    blank = find_gap(LETTERS, "ab____c", "____", on_unknown="error")
    found = propose(engines, LETTERS, blank, beam=1000, max_tokens=2)
    assert sorted(found) == sorted([*"abc", *(one + other for one in "abc" for other in "abc")])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_narrow_search_keeps_what_leads_on(direction):
    engines = engines_for(LETTERS, direction)
    blank = find_gap(LETTERS, "ab____c", "____", on_unknown="error")
    every = propose(engines, LETTERS, blank, beam=1000, max_tokens=3)
    best = rank(engines, LETTERS, ("ab", "c"), every)[0].text
    assert best in propose(engines, LETTERS, blank, beam=12, max_tokens=3)


def test_words_fill_a_gap_without_the_spaces_beside_them():
    engines = engines_for(WORDS, "forward", "backward")
    blank = find_gap(WORDS, "the ____ sat.", "____", on_unknown="error")
    found = propose(engines, WORDS, blank, beam=50, max_tokens=1)
    assert {"cat", "dog"} <= set(found)
    assert all(text == text.strip() and "\n" not in text and "<unk>" not in text for text in found)


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru", "attention"])
@pytest.mark.parametrize("directions", [("forward",), ("backward",), ("forward", "backward")])
def test_a_long_context_is_read_once_for_all_candidates(directions, cell, monkeypatch):
    engines = engines_for(LINES, *directions, **CELLS[cell])
    text, candidates = "abacabca" * 8, ["a", "bc", "cab", "", "b"]
    read = []
    for name in ("_SteppingReader", "_NetworkReader"):
        reader = getattr(estimators, name)
        original = reader.read

        def counted(self, contexts_TB, targets_TB, *, whole, original=original):
            read.append(contexts_TB.size)
            return original(self, contexts_TB, targets_TB, whole=whole)

        monkeypatch.setattr(reader, "read", counted)
    ranked = rank(engines, LINES, (text, text), candidates)
    once, for_each = len(text), len(candidates) * (len("cab") + len(text) + 1)  # the far side, with the line's end
    assert 0 < sum(read) <= len(directions) * (once + for_each)
    for filling in ranked:
        of_each = [
            next(score_units(estimator_of(engine, LINES), LINES, [text + filling.text + text], ScoreOptions()))
            for engine in engines.values()
        ]
        assert filling.log_prob_nats == pytest.approx(np.mean([score.log_prob_nats for score in of_each]), abs=1e-5)
