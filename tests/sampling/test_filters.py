import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charnn.sampling import filters
from charnn.sampling.filters import (
    biased,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical_p,
    kth_largest,
    normalised,
    penalised,
    tempered,
    top_p_bound,
)

rows = st.lists(st.floats(-30, 0), min_size=1, max_size=12).map(lambda row: np.array([row]))
FILTERS = {
    "top-k": (keep_top_k, 3),
    "top-p": (keep_top_p, 0.6),
    "typical-p": (keep_typical_p, 0.6),
    "min-p": (keep_min_p, 0.2),
}


def kept(filtered):
    return np.flatnonzero(np.isfinite(filtered.log_probs_BV[0]))


@given(rows, st.integers(1, 15))
def test_top_k_keeps_the_k_likeliest_and_ties(row, k):
    found = kept(keep_top_k(row, k))
    assert len(found) >= min(k, row.shape[1])
    ruled_out = np.setdiff1d(np.arange(row.shape[1]), found)
    assert not len(ruled_out) or row[0, found].min() > row[0, ruled_out].max()


@given(rows, st.floats(0.01, 1.0))
def test_top_p_keeps_the_fewest_that_reach_p(row, p):
    found = kept(keep_top_p(row, p))
    probs = normalised(row)[0]
    assert probs[found].sum() >= p - 1e-9
    assert p == 1 or probs[found].sum() - probs[found].min() < p + 1e-9
    ruled_out = np.setdiff1d(np.arange(row.shape[1]), found)
    assert not len(ruled_out) or row[0, found].min() >= row[0, ruled_out].max()


@given(rows, st.floats(0.01, 0.99), st.floats(0.1, 100))
def test_the_bound_of_top_p_keeps_the_same_tokens(row, p, total):
    filtered = keep_top_p(row, p)
    assume(filtered.margin_B[0] > 1e-9)
    bound = top_p_bound(total * normalised(row)[0], p)
    assert bound is not None
    assert np.flatnonzero(total * normalised(row)[0] >= bound).tolist() == kept(filtered).tolist()


def test_top_p_has_no_bound_where_two_tokens_are_as_likely():
    assert top_p_bound(np.array([0.4, 0.3, 0.3]), 0.6) is None
    assert top_p_bound(np.array([0.4, 0.3, 0.3]), 0.3) == 0.4


@given(rows, st.data())
def test_the_kth_largest_is_that_of_the_sorted_values(row, data):
    ranks = data.draw(st.lists(st.integers(1, row.shape[1]), min_size=1, max_size=2))
    assert [float(found[0]) for found in kth_largest(row, *ranks)] == [sorted(row[0])[-rank] for rank in ranks]


@given(rows, st.floats(0.01, 0.99))
def test_typical_p_keeps_the_fewest_that_reach_p_nearest_to_the_entropy(row, p):
    found = kept(keep_typical_p(row, p))
    probs = normalised(row)[0]
    surprisals = np.where(probs > 0, -np.log(np.maximum(probs, 1e-300)), np.inf)
    entropy = sum(prob * surprisal for prob, surprisal in zip(probs, surprisals, strict=True) if prob > 0)
    distance = np.abs(surprisals - entropy)
    farthest = found[np.argmax(distance[found])]
    assert probs[found].sum() >= p - 1e-9
    assert probs[found].sum() - probs[farthest] < p + 1e-9
    ruled_out = np.setdiff1d(np.arange(row.shape[1]), found)
    assert not len(ruled_out) or distance[found].max() <= distance[ruled_out].min() + 1e-9


@given(rows, st.floats(0.001, 1.0))
def test_min_p_keeps_what_has_a_share_of_the_likeliest(row, share):
    probs = normalised(row)[0]
    for id in kept(keep_min_p(row, share)):
        assert probs[id] >= share * probs.max() * (1 - 1e-9)
    ruled_out = np.setdiff1d(np.arange(row.shape[1]), kept(keep_min_p(row, share)))
    assert (probs[ruled_out] < share * probs.max() * (1 + 1e-9)).all()


@given(rows, st.floats(0.1, 10))
def test_temperature_keeps_the_order(row, temperature):
    in_order = tempered(row, temperature)[0, np.argsort(row[0])]
    assert (np.diff(in_order) >= 0).all()  # two that differ in their last bit may become equal


@pytest.mark.parametrize("name", FILTERS)
@given(row=rows)
def test_what_is_kept_is_unchanged_and_the_input_too(name, row):
    keep, value = FILTERS[name]
    before = row.copy()
    filtered = keep(row, value)
    assert len(kept(filtered)) >= 1
    assert (filtered.log_probs_BV[0, kept(filtered)] == row[0, kept(filtered)]).all()
    assert (row == before).all()
    assert abs(normalised(filtered.log_probs_BV).sum() - 1) < 1e-12


@pytest.mark.parametrize("name", FILTERS)
@given(row=rows, signs=st.lists(st.sampled_from([-1, 1]), min_size=12, max_size=12), shift=st.floats(-5, 5))
def test_within_its_margin_a_decision_does_not_change(name, row, signs, shift):
    keep, value = FILTERS[name]
    row = np.log(normalised(row) + 1e-12)
    filtered = keep(row, value)
    assume(filtered.margin_B[0] > 1e-12)  # to add the shift rounds by as much
    size = min(float(filtered.margin_B[0]), 0.02) * 0.95
    moved = row + size * np.array(signs[: row.shape[1]])
    assert kept(keep(moved + shift, value)).tolist() == kept(filtered).tolist()


@pytest.mark.parametrize("name", FILTERS)
def test_within_their_margins_many_decisions_do_not_change(name):
    keep, value = FILTERS[name]
    generator = np.random.default_rng(8)
    rows = np.log(generator.dirichlet(np.full(30, 0.3), size=1000) + 1e-12)
    filtered = keep(rows, value)
    sizes = np.minimum(filtered.margin_B, 0.02)[:, None] * 0.95
    for _ in range(10):
        moved = keep(rows + sizes * generator.choice([-1, 1], size=rows.shape), value)
        np.testing.assert_array_equal(np.isfinite(moved.log_probs_BV), np.isfinite(filtered.log_probs_BV))


@pytest.mark.parametrize("keep", [keep_top_p, keep_typical_p])
def test_a_large_vocabulary_is_sorted_in_part_only(keep, monkeypatch):
    log_probs = np.log(np.random.default_rng(1).dirichlet(np.full(3000, 0.3), size=5) + 1e-12)
    expected = [keep(log_probs, p) for p in (0.1, 0.9, 0.999)]
    monkeypatch.setattr(filters, "SORTED_FIRST", 3000)
    for p, found in zip((0.1, 0.9, 0.999), expected, strict=True):
        np.testing.assert_array_equal(keep(log_probs, p).log_probs_BV, found.log_probs_BV)


def test_rows_are_filtered_each_by_itself():
    rows = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]]))
    for keep, value in FILTERS.values():
        alone = [keep(rows[place : place + 1], value) for place in range(3)]
        together = keep(rows, value)
        np.testing.assert_array_equal(together.log_probs_BV, np.concatenate([one.log_probs_BV for one in alone]))
        np.testing.assert_allclose(together.margin_B, np.concatenate([one.margin_B for one in alone]))


def test_penalties_as_their_definitions_have_them():
    row = np.log(np.array([[0.5, 0.3, 0.2]]))
    found = penalised(row, [[0, 0, 2]], repetition=2.0, presence=0.5, frequency=0.25)
    expected = [2 * np.log(0.5) - 0.5 - 2 * 0.25, np.log(0.3), 2 * np.log(0.2) - 0.5 - 0.25]
    np.testing.assert_allclose(found[0], expected)
    assert (row == np.log(np.array([[0.5, 0.3, 0.2]]))).all()


def test_a_bias_is_added_and_minus_infinity_rules_out():
    row = np.log(np.array([[0.5, 0.3, 0.2]]))
    np.testing.assert_allclose(normalised(biased(row, np.array([0, np.log(2), -np.inf]))), [[0.5 / 1.1, 0.6 / 1.1, 0]])


def test_temperature_sharpens_as_the_definition_has_it():
    np.testing.assert_allclose(normalised(tempered(np.log([[0.8, 0.2]]), 0.5)), [[16 / 17, 1 / 17]])
