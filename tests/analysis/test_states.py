"""Distances at tokens that correspond, an order of units, and states that are those of the engine."""

import numpy as np
import pytest

import charnn as library
from charnn.analysis.states import TextStates, aligned, distance, first_lines, seriated
from charnn.analysis.subjects import read_subjects
from charnn.config import InspectOptions
from charnn.errors import OptionError


def ids(text):
    return np.array([ord(character) for character in text])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("The cat, was", "The cats, was", [(7, 8), (8, 9), (9, 10), (10, 11), (11, 12)]),
        ("axb", "ayb", [(1, 1), (2, 2)]),
        ("same", "same", [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ("a", "bc", []),
        ("ab is", "ab are", []),
    ],
)
def test_tokens_correspond_from_the_first_difference_on(first, second, expected):
    assert aligned(ids(first), ids(second)) == expected


def states_of_text(text, states):
    return TextStates(
        "run", 1, text, ids(text), list(text), np.array(states, dtype=np.float32), np.zeros((len(text), 2))
    )


def test_distances_are_worked_by_hand():
    first = states_of_text("abc", [[1, 0], [1, 0], [3, 4]])
    second = states_of_text("axc", [[1, 0], [0, 2], [6, 8]])
    found = distance(first, second)
    assert found.first_positions.tolist() == [1, 2]
    assert found.tokens == [("b", "x"), ("c", "c")]
    assert found.cosine == pytest.approx([1, 0], abs=1e-7)
    assert found.euclidean == pytest.approx([5**0.5, 5])
    same = distance(first, first)
    assert same.euclidean.tolist() == [0, 0, 0]


def test_units_that_act_alike_are_neighbors():
    generator = np.random.default_rng(2)
    sources = generator.normal(size=(50, 3))
    groups = generator.permutation(np.repeat([0, 1, 2], 8))
    states = sources[:, groups] * generator.uniform(0.5, 2, 24) + 0.05 * generator.normal(size=(50, 24))
    order = seriated(states.astype(np.float32))
    assert sorted(order.tolist()) == list(range(24))
    assert (np.diff(groups[order]) != 0).sum() <= 3
    assert sorted(seriated(states[:1].astype(np.float32)).tolist()) == list(range(24))


def test_the_states_are_those_of_the_engine(run):
    found = library.inspect("states", run, text=("The cat was", "The cats were"))
    (subject,) = read_subjects([run], InspectOptions())
    boundary = subject.model.tokenizer.vocabulary.boundary_id
    for text, words in zip(found.texts, ("The cat was", "The cats were"), strict=True):
        inputs = np.concatenate(([boundary], subject.model.tokenizer.encode(words)))[:, None]
        outputs, _ = subject.engine.forward(inputs, subject.engine.initial_state())
        np.testing.assert_allclose(text.states, outputs[1:, 0], atol=1e-6)
        assert "".join(text.tokens).replace("␣", " ") == words
    joined = np.concatenate([text.states for text in found.texts]).astype(np.float64)
    points = np.concatenate([text.points for text in found.texts])
    variances = np.square(np.linalg.svd(joined - joined.mean(0), compute_uv=False))
    assert points.var(axis=0) * len(points) == pytest.approx(variances[:2], rel=1e-4)
    (explained,) = found.explained.values()
    assert explained == pytest.approx(variances[:2] / variances.sum(), rel=1e-4)
    distances, paths = found.tables()
    assert [row[3] for row in distances.rows][:2] == [8, 9]
    assert len(paths.rows) == 11 + 13


def test_by_default_whole_lines_are_read(run, line_run):
    for path in (run, line_run):
        (subject,) = read_subjects([path], InspectOptions())
        text = "".join("\n" if token == "⏎" else token for token in subject.tokens(subject.ids)).replace("␣", " ")
        lines = ["".join(subject.tokens(line)).replace("␣", " ") for line in first_lines(subject)]
        assert 1 <= len(lines) <= 3
        assert all(f"\n{line}" in f"\n{text}" for line in lines)
    assert library.inspect("states", run).distances == []


def test_a_text_without_a_token_is_refused(run):
    with pytest.raises(OptionError, match=r"text: found '', which contains no token; write a text with some"):
        library.inspect("states", run, text=("",))
