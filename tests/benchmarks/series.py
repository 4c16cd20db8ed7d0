"""Forecasts of daily temperatures against simple rules and a linear model, and the rank of planted anomalies by surprisal.

    python -m tests.benchmarks.series [--seeds 1 2 3] [--samples 200] [--every 5]

The network is trained on the first nine tenths of `corpora/temperatures.csv`. From every fifth day of the last tenth, the next
30 days are forecast by

- the network: quantiles of samples (`sample --forecast`), its state carried over all earlier days;
- the last value, and the value of the same day of the last year;
- climatology: the mean of that day of the year in the training part;
- a linear autoregressive model of five days and two yearly waves, fitted by least squares, whose forecast is fed back.

The last four are numbers; the quantiles around them are those of their errors on the training part at the same distance (for
climatology, within 15 days of the same day of the year). CRPS is twice the mean pinball loss over the levels 0.01 to 0.99.
"""

import argparse
import csv
import datetime
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import charnn
from charnn.config import SampleOptions
from charnn.inference.build import build_stepper
from charnn.inference.prompt import prefill
from charnn.sampling.forecast import forecast_after
from charnn.text.quantiles import Bins
from tests.conftest import REPOSITORY

Floats = npt.NDArray[np.float64]
TABLE = REPOSITORY / "corpora" / "temperatures.csv"
LEVELS = np.arange(1, 100) / 100
STEPS = (1, 7, 30)
OPTIONS: Any = {
    "tokenizer": "bins",
    "column": "temperature",
    "hidden_size": 64,
    "tie_weights": True,
    "forget_bias": 4.0,
}
OPTIONS |= {"bptt_length": 400, "batch_size": 16, "steps": 400, "patience": 40}
YEAR, ORDER, NEAR_DAYS = 365, 5, 15
PLANTED = {"2021-03-09": 1, "2021-12-14": 5, "2022-07-26": 1}
"""First days and lengths of the anomalies in the last tenth (see `make_temperatures.py`)."""


def read_table() -> tuple[list[datetime.date], Floats]:
    """Return the dates and the temperatures (N,), NaN where one is missing."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    days = [datetime.date.fromisoformat(row["date"]) for row in rows]
    return days, np.array([float(row["temperature"] or math.nan) for row in rows])


class Rules:
    """The forecasts that the network is compared with, fitted to the training part.

    Args:
        days: of the values.
        values: all of them (N,); the first `num_train` are fitted to.
    """

    def __init__(self, days: list[datetime.date], values: Floats, num_train: int) -> None:
        self._of_year = np.array([day.timetuple().tm_yday for day in days])
        known = self._of_year[:num_train], values[:num_train]
        means = np.array([np.nanmean(known[1][known[0] == day]) for day in range(1, 367)])
        self._climate = means[self._of_year - 1]
        self.values = np.where(np.isnan(values), self._climate, values)
        angle = 2 * np.pi * self._of_year / 365.2425
        waves = [np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
        self._season = np.stack([np.ones(len(values)), *waves], axis=1)
        self._num_train = num_train
        inputs = np.concatenate([self._lags(), self._season], axis=1)[ORDER:num_train]
        self._weights = np.linalg.lstsq(inputs, self.values[ORDER:num_train], rcond=None)[0]
        residuals = self.values[ORDER:num_train] - inputs @ self._weights
        self.deviation = float(residuals.std())

    def _lags(self) -> Floats:
        return np.stack([np.roll(self.values, lag) for lag in range(1, ORDER + 1)], axis=1)

    def one_step(self) -> Floats:
        """Return the linear model's mean of each value given the earlier ones (N,)."""
        means: Floats = np.concatenate([self._lags(), self._season], axis=1) @ self._weights
        return means

    def forecasts(self) -> dict[str, Callable[[npt.NDArray[np.int64], int], Floats]]:
        """Return, by name, functions from the last known positions (M,) and a number of steps to forecasts (M,)."""
        return {
            "last value": lambda last, _: self.values[last],
            "same day last year": lambda last, step: self.values[last + step - YEAR],
            "climatology": lambda last, step: self._climate[last + step],
            f"linear, order {ORDER}": self._linear,
        }

    def _linear(self, last: npt.NDArray[np.int64], step: int) -> Floats:
        recent = np.stack([self.values[last - lag] for lag in range(ORDER)], axis=1)
        for ahead in range(1, step + 1):
            inputs = np.concatenate([recent, self._season[last + ahead]], axis=1)
            recent = np.concatenate([(inputs @ self._weights)[:, None], recent[:, :-1]], axis=1)
        return recent[:, 0]

    def quantiles(self, name: str, last: npt.NDArray[np.int64], step: int) -> Floats:
        """Return the quantiles (M, L) of a rule: its forecast, plus the quantiles of its errors on the training part."""
        rule = self.forecasts()[name]
        fitted = np.arange(YEAR, self._num_train - step)
        errors = self.values[fitted + step] - rule(fitted, step)
        centre = rule(last, step)
        if name != "climatology":
            return centre[:, None] + np.quantile(errors, LEVELS)
        apart = np.abs(self._of_year[fitted + step] - self._of_year[last + step][:, None])
        near = np.minimum(apart, YEAR - apart) <= NEAR_DAYS
        return np.array([mean + np.quantile(errors[rows], LEVELS) for mean, rows in zip(centre, near, strict=True)])


def measure(quantiles: Floats, actual: Floats) -> tuple[float, float, float, float]:
    """Return the absolute error of the median, CRPS, and the coverage of the intervals of 50 % and 90 %, as means.

    Args:
        quantiles: at `LEVELS` (M, L).
        actual: values (M,), NaN where one is missing.
    """
    quantiles, actual = quantiles[~np.isnan(actual)], actual[~np.isnan(actual)]
    error = actual[:, None] - quantiles
    pinball = np.maximum(LEVELS * error, (LEVELS - 1) * error)

    def coverage(low: float, high: float) -> float:
        lower, upper = (np.array([np.interp(level, LEVELS, row) for row in quantiles]) for level in (low, high))
        return float(((actual >= lower) & (actual <= upper)).mean())

    median = quantiles[:, len(LEVELS) // 2]
    return float(np.abs(actual - median).mean()), float(2 * pinball.mean()), coverage(0.25, 0.75), coverage(0.05, 0.95)


def network_quantiles(
    model: charnn.LanguageModel, values: Floats, last: npt.NDArray[np.int64], num_samples: int
) -> dict[int, Floats]:
    """Return the network's quantiles (M, L) by step."""
    only, tokenizer = model.models[0], model.tokenizer
    stepper, state = build_stepper(only), None
    ids = tokenizer.ids_of(values)  # type: ignore[attr-defined]
    found: dict[int, list[Floats]] = {step: [] for step in STEPS}
    for position in last.tolist():
        state = prefill(stepper, tokenizer, ids[: position + 1], known=state)
        options = SampleOptions(forecast=True, length=max(STEPS), num_samples=num_samples, seed=1)
        forecast = forecast_after(only, stepper, state, options, levels=LEVELS.tolist())
        for step in STEPS:
            found[step].append(forecast.quantiles[step - 1])
    return {step: np.array(rows) for step, rows in found.items()}


def linear_bits(rules: Rules, bins: Bins, values: Floats) -> Floats:
    """Return the linear model's surprisal of the bin of each value (N,), with normally distributed errors, in bits."""
    edges = np.array([-math.inf, *bins.edges, math.inf])
    means, own = rules.one_step(), bins.of(np.nan_to_num(values))
    erf = np.vectorize(math.erf)

    def below(edge: Floats) -> Floats:
        result: Floats = (1 + erf((edge - means) / rules.deviation / math.sqrt(2))) / 2
        return result

    return -np.log2(np.maximum(below(edges[own + 1]) - below(edges[own]), 1e-12))


def ranks(bits: Floats, days: list[datetime.date], num_train: int) -> list[str]:
    """Return, for each planted anomaly, the ranks of its days among the surprisals of the last tenth, 1 for the largest."""
    order = np.argsort(-np.nan_to_num(bits[num_train:]))
    rank_of = {days[num_train + position]: rank for rank, position in enumerate(order.tolist(), start=1)}
    found = []
    for first, length in PLANTED.items():
        begin = datetime.date.fromisoformat(first)
        found.append(f"{first}: " + ", ".join(str(rank_of[begin + datetime.timedelta(day)]) for day in range(length)))
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--every", type=int, default=5, help="days between two forecasts")
    asked = parser.parse_args()
    days, values = read_table()
    rows: dict[tuple[int, str], tuple[float, float, float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in asked.seeds:
            model = charnn.train([str(TABLE)], output=str(Path(folder) / str(seed)), seed=seed, **OPTIONS)
            num_train = model.models[0].config.corpus.train.num_tokens
            last = np.arange(num_train - 1, len(values) - max(STEPS), asked.every)
            rules = Rules(days, values, num_train)
            name = f"network, seed {seed}"
            for step, quantiles in network_quantiles(model, values, last, asked.samples).items():
                rows[step, name] = measure(quantiles, values[last + step])
            scores = model.score(["<unk>" if math.isnan(value) else f"{value:.1f}" for value in values])
            bits = np.array([-score.log_prob_nats / math.log(2) for score in scores])
            linear = linear_bits(rules, model.tokenizer.bins, values)  # type: ignore[attr-defined]
            print(f"{name}: {bits[num_train:].mean():.4f} bits per value, linear {linear[num_train:].mean():.4f}")
            print(f"  ranks of {len(values) - num_train} by the network: {'; '.join(ranks(bits, days, num_train))}")
            print(f"  ranks by the linear model: {'; '.join(ranks(linear, days, num_train))}")
    for step in STEPS:
        for name in rules.forecasts():
            rows[step, name] = measure(rules.quantiles(name, last, step), values[last + step])
        print(f"\n{step} steps, {len(last)} forecasts: MAE of the median, CRPS, coverage of 50 % and 90 %")
        for (of_step, name), figures in rows.items():
            if of_step == step:
                print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
