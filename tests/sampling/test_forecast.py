"""Forecasts: quantiles of mixtures of bins by hand, and of the samples that they are made of."""

import math

import numpy as np
import pytest

import charnn
from charnn.config import SampleOptions
from charnn.errors import ModelError, OptionError, TextError
from charnn.sampling.forecast import Forecast, end_of_series, forecast_values, quantiles_of
from charnn.storage.model_directory import read_model
from charnn.text.corpus import open_ids
from charnn.text.quantiles import Bins
from tests.conftest import train_quietly

BINS = Bins((2.0, 4.0), (1.0, 3.0, 7.0), 0.0, 8.0, 0)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    text = "1 2 3 4 5 6 7 8 9 0 " * 60
    options = ["--tokenizer", "bins", "--steps", 60, "--batch-size", 4, "--bptt", 20, "--seed", 1]
    return charnn.load(train_quietly(tmp_path_factory.mktemp("series"), text, *options))


@pytest.mark.parametrize(
    ("probs", "expected"),
    [
        ([1, 0, 0], [0.5, 1.0, 1.5]),  # half below the median of 1, half above
        ([0, 0, 1], [5.5, 7.0, 7.5]),  # the outer bin ends at the highest value
        ([0, 1, 1], [3.0, 4.0, 7.0]),
        ([2, 1, 1], [1.0, 2.0, 4.0]),
    ],
)
def test_quantiles_of_bins(probs, expected):
    (found,) = quantiles_of(BINS, np.array([probs], dtype=float), (0.25, 0.5, 0.75))
    np.testing.assert_allclose(found, expected)


def test_quantiles_are_those_of_samples_that_spread_within_their_bins():
    random = np.random.default_rng(1)
    probs = random.dirichlet([1, 1, 1])
    low, median, high = BINS.quarters[random.choice(3, 200_000, p=probs)].T
    is_upper, place = random.random(len(low)) < 0.5, random.random(len(low))
    drawn = np.where(is_upper, median + place * (high - median), low + place * (median - low))
    levels = (0.05, 0.3, 0.5, 0.8, 0.95)
    (found,) = quantiles_of(BINS, probs[None], levels)
    np.testing.assert_allclose(found, np.quantile(drawn, levels), atol=0.05)


def test_a_forecast_summarizes_samples_that_continue_the_series(series):
    forecast = series.forecast([7, 8, 9, 0, 1], steps=3, num_samples=40, seed=5)
    assert (forecast.quantiles.shape, forecast.samples.shape) == ((3, 5), (40, 3))
    assert (np.diff(forecast.quantiles, axis=1) >= 0).all()
    np.testing.assert_array_equal(forecast.history, [7, 8, 9, 0, 1])
    samples = series.sample("7 8 9 0 1", num_samples=40, length=3, seed=5)
    medians = np.array([math.nan, math.nan, *series.tokenizer.bins.medians])
    np.testing.assert_array_equal(forecast.samples, medians[[sample.ids for sample in samples]])
    np.testing.assert_allclose(forecast.quantiles[:, 2], [2, 3, 4], atol=0.5)  # which it has learned
    (first, *_) = forecast.rows()
    assert list(first) == ["step", "q5", "q25", "q50", "q75", "q95"]
    assert first["step"] == 1


def test_without_values_it_continues_the_series_that_was_trained_on(series):
    model = series.models[0]
    stored = [np.asarray(open_ids(model.path / name, model.tokenizer)) for name in ("train.bin", "valid.bin")]
    ids = end_of_series(model)
    np.testing.assert_array_equal(ids, np.concatenate(stored))
    values = np.array([math.nan, math.nan, *model.tokenizer.bins.medians])[ids]
    options = SampleOptions(forecast=True, length=4, num_samples=10, seed=1)
    found, expected = (forecast_values(model, given, options) for given in (None, values.tolist()))
    np.testing.assert_array_equal(found.samples, expected.samples)


def test_a_missing_value_is_one(series):
    forecast = series.forecast([7, math.nan, 9], steps=1, num_samples=5, seed=5)
    np.testing.assert_array_equal(forecast.history, [7, math.nan, 9])


@pytest.mark.parametrize("values", [["a"], [math.inf], [[1, 2]], [None, "1,5"], 5])
def test_values_that_are_no_numbers_are_refused(series, values):
    with pytest.raises(TextError, match=r"^values: found "):
        series.forecast(values, steps=1)


@pytest.mark.parametrize("levels", [[], [0.0], [0.5, 1.0], "0.5", 0.5, [math.nan]])
def test_levels_are_between_0_and_1(series, levels):
    with pytest.raises(OptionError, match=r"^quantiles: found a level that is not between 0 and 1"):
        series.forecast([1], steps=1, quantiles=levels)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_forecast_has_at_least_one_step(series, steps):
    with pytest.raises(OptionError, match=rf"^steps: found {steps}, but a forecast has at least 1 step$"):
        series.forecast([1, 2], steps=steps)
    with pytest.raises(OptionError, match=rf"^--length: found {steps}, but a forecast has at least 1 step$"):
        forecast_values(series.models[0], [1, 2], SampleOptions(length=steps, num_samples=2))


def test_a_model_of_text_forecasts_nothing(run):
    with pytest.raises(
        ModelError, match="is a model of text, but a forecast needs one of numbers; train with tokenizer bins"
    ):
        charnn.load(run).forecast()


def test_many_series_have_no_end_to_continue(tmp_path):
    run = train_quietly(tmp_path, "1 2 3\n3 2 1\n" * 40, "--tokenizer", "bins", "--unit", "line", "--steps", 5)
    with pytest.raises(ModelError, match=r"was trained on many series .* give the last values as a prompt"):
        end_of_series(read_model(run))
    forecast = charnn.load(run).forecast(
        [1], steps=6, num_samples=8, seed=1
    )  # samples that end are left out after that
    assert np.isnan(forecast.samples).any()
    assert np.isfinite(forecast.quantiles[0]).all()


def test_series_that_all_end_at_once_are_named(tmp_path):
    run = train_quietly(tmp_path, "1\n2\n3\n" * 40, "--tokenizer", "bins", "--unit", "line", "--steps", 20)
    with pytest.raises(
        ModelError, match=r"the series ends after these values in each of 1 samples, so there is nothing"
    ):
        charnn.load(run).forecast([1], steps=3, num_samples=1, seed=1, top_k=1)


@pytest.mark.parametrize(
    ("value", "decimals", "expected"), [(12.3456, 1, 12.35), (-0.0004, 2, 0.0), (1.5e-18, 15, 1.5e-18)]
)
def test_rows_are_rounded_to_one_decimal_more_than_the_values_have(value, decimals, expected):
    (row,) = Forecast((0.5,), np.array([[value]]), np.zeros((0, 1)), np.zeros(0), decimals, seed=1).rows()
    assert row == {"step": 1, "q50": expected}
    assert math.copysign(1, row["q50"]) == 1 or value < -0.01


def test_the_boundary_never_comes_in_a_series(series):
    for text in (each.text for each in series.sample(num_samples=30, length=40, seed=1, temperature=5.0)):
        assert len(text.split()) == 40
