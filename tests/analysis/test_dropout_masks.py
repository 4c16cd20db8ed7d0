"""Tests of the masks of the three kinds of dropout."""

import numpy as np
import pytest

import charnn as library
from charnn.analysis.dropout_masks import NUM_STEPS, NUM_UNITS, draw_masks
from tests.conftest import train_quietly


@pytest.mark.parametrize(
    ("kind", "of_output", "of_recurrent"), [("naive", NUM_STEPS, 1), ("locked", 1, 1), ("variational", 1, 1)]
)
def test_kinds_differ_in_their_masks_over_time(kind, of_output, of_recurrent):
    output, recurrent = draw_masks(kind, 0.25, seed=1)
    assert (output.connections, recurrent.connections) == ("output", "recurrent")
    assert output.mask.shape == recurrent.mask.shape == (NUM_STEPS, NUM_UNITS)
    assert (output.num_masks, recurrent.num_masks) == (of_output, of_recurrent)
    assert np.unique(output.mask).tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert output.kept_fraction == pytest.approx(0.75, abs=0.15)
    if kind == "variational":
        assert (recurrent.rate, recurrent.mask.min()) == (0.25, 0)
        assert not np.array_equal(recurrent.mask, output.mask)
    else:
        assert (recurrent.rate, recurrent.mask.min(), recurrent.mask.max()) == (0.0, 1, 1)


def test_a_seed_gives_the_same_masks():
    first, again, other = (draw_masks("naive", 0.5, seed=seed)[0].mask for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_rate_is_that_of_the_run_or_a_half(tmp_path):
    options = ("--steps", 1, "--batch-size", 2, "--bptt", 8)
    text = "ab\nabb\n" * 40
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    dropping = train_quietly(tmp_path / "with", text, *options, "--output-dropout", 0.3, "--dropout", 0)
    plain = train_quietly(tmp_path / "without", text, *options, "--dropout", 0)
    found = library.inspect("dropout", dropping, plain)
    assert [(run.kind, run.rate) for run in found.runs] == [("locked", 0.3), (None, 0.5)]
    rows = [*found.tables()[0].records()]
    assert [row["kind"] for row in rows[:6:2]] == ["naive", "locked", "variational"]
    assert [row["rate"] for row in rows[:6]] == [0.3, 0.0, 0.3, 0.0, 0.3, 0.3]
    assert rows[0]["kept_fraction"] == found.runs[0].masks[0].kept_fraction
    assert rows[0]["factor"] == pytest.approx(1 / 0.7)
