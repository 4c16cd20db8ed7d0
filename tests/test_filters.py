import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charnn.runtime.filters import ban, keep_top_k, keep_top_p, normalised, temper

rows = st.lists(st.floats(-30, 0), min_size=1, max_size=12).map(lambda row: np.array([row]))


def kept(filtered):
    return np.flatnonzero(np.isfinite(filtered[0]))


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
    assert probs[found].sum() - probs[found].min() < p + 1e-9


@given(rows, st.floats(0.1, 10))
def test_temperature_keeps_the_order(row, temperature):
    assert (np.argsort(temper(row, temperature), kind="stable") == np.argsort(row, kind="stable")).all()


@given(rows)
def test_what_is_kept_is_unchanged_and_probabilities_sum_to_one(row):
    for filtered in (keep_top_k(row, 3), keep_top_p(row, 0.5)):
        assert (filtered[0, kept(filtered)] == row[0, kept(filtered)]).all()
        assert abs(normalised(filtered).sum() - 1) < 1e-12


def test_a_banned_token_is_ruled_out_and_the_input_left_alone():
    row = np.log(np.array([[0.5, 0.3, 0.2]]))
    assert kept(ban(row, 1)).tolist() == [0, 2]
    assert np.isfinite(row).all()


def test_temperature_sharpens_as_the_definition_has_it():
    np.testing.assert_allclose(normalised(temper(np.log([[0.8, 0.2]]), 0.5)), [[16 / 17, 1 / 17]])
