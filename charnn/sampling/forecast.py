"""Forecasts: the distribution of the next values of a series, from many samples."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import numpy.typing as npt

from charnn.config import SampleOptions
from charnn.errors import ModelError, OptionError, TextError
from charnn.inference.build import build_stepper
from charnn.inference.prompt import PromptState, prefill
from charnn.inference.stepper import Stepper
from charnn.sampling.build import build_sampler, check_can_write, drawn_seed, finished_samples
from charnn.sampling.streams import SampleRequest
from charnn.storage.labels import with_label
from charnn.storage.model_directory import Model
from charnn.text.bins import BinsTokenizer
from charnn.text.corpus import open_ids
from charnn.text.quantiles import MOST_DECIMALS, Bins, Values

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_READ = 8192
"""Values at the end of the training series that are read before a forecast, at most."""
HISTORY_STORED = 512


@dataclass(frozen=True)
class Forecast:
    """Quantiles of the next values.

    Args:
        levels: of the quantiles, ascending (L,).
        quantiles: of each step (T, L).
        samples: the values of each sample, each of which is the median of its bin (S, T); NaN after the end of a sample.
        history: the last values before the first step, NaN where they are missing; of the training series, the medians of bins.
        decimals: that the values have.
        seed: of the first sample.

    Example:
        >>> forecast = charnn.load("runs/series").forecast(steps=7, num_samples=20, seed=1)
        >>> medians = forecast.quantiles[:, 2]
    """

    levels: tuple[float, ...]
    quantiles: Values
    samples: Values
    history: Values
    decimals: int
    seed: int

    def rows(self) -> list[dict[str, float]]:
        """Return a record per step: its number, from 1, and the quantiles by their percentages, as `q5`."""
        names = [f"q{100 * level:g}" for level in self.levels]
        return [
            {"step": step, **{name: self._rounded(value) for name, value in zip(names, values, strict=True)}}
            for step, values in enumerate(self.quantiles.tolist(), start=1)
        ]

    def _rounded(self, value: float) -> float:
        return value if self.decimals >= MOST_DECIMALS else round(value, self.decimals + 1) + 0.0


def quantiles_of(bins: Bins, probs_TM: npt.NDArray[np.float64], levels: Sequence[float]) -> Values:
    """Return quantiles (T, L) of distributions over bins (T, M).

    Half of a bin's probability is spread evenly below the median of its training values, and half above it; the outer bins end
    at the lowest and the highest training value.
    """
    knots = np.append(bins.quarters[:, :2].ravel(), bins.highest)
    halves_TK = np.repeat(probs_TM / 2, 2, axis=1)
    cumulative_TK = np.concatenate([np.zeros((len(probs_TM), 1)), np.cumsum(halves_TK, axis=1)], axis=1)
    return np.array([np.interp(levels, row / row[-1], knots) for row in cumulative_TK])


def numbers_tokenizer(model: Model, purpose: str) -> BinsTokenizer:
    """Return a model's tokenizer. Raises ModelError for a model of text."""
    if not isinstance(model.tokenizer, BinsTokenizer):
        raise ModelError(
            f"{model.path}: is a model of text, but {purpose} needs one of numbers; train with --tokenizer bins"
        )
    return model.tokenizer


def end_of_series(model: Model) -> npt.NDArray[np.int64]:
    """Return the last values that a model was trained and validated on, as ids (N,).

    Raises:
        ModelError: for a model of many series, or where the directory does not hold them any more.
    """
    remedy = "give the last values as a prompt, or in a --prompt-file"
    if model.tokenizer.unit != "stream":
        raise ModelError(f"{model.path}: was trained on many series (--unit {model.tokenizer.unit}); {remedy}")
    files = [model.path / f"{split}.bin" for split in ("train", "valid")]
    if not all(file.exists() for file in files):
        raise ModelError(f"{model.path}: does not hold the series that it was trained on; {remedy}")
    parts = [np.asarray(open_ids(file, model.tokenizer)[-MOST_READ:]).astype(np.int64) for file in files]
    return np.concatenate(parts)[-MOST_READ:]


def ids_of_values(tokenizer: BinsTokenizer, values: Iterable[float]) -> npt.NDArray[np.int64]:
    """Return the ids of values (N,), NaN being a missing one. Raises TextError for what is no number."""
    try:
        array = np.asarray(list(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TextError(
            f"values: found what is no number ({error}); pass numbers, and NaN for a missing one"
        ) from error
    if array.ndim != 1 or np.isinf(array).any():
        raise TextError(
            "values: found an infinity, or a table; pass one row of finite numbers, and NaN for a missing one"
        )
    return tokenizer.ids_of(array)


def check_steps(steps: int | None, name: str = "--length") -> None:
    """Refuse a forecast of fewer than 1 step, whose samples would never end. Raises OptionError.

    Args:
        steps: None for the default.
        name: of the option, for the message.
    """
    if isinstance(steps, Real) and steps < 1:
        raise OptionError(f"{name}: found {steps}, but a forecast has at least 1 step")


def forecast_after(
    model: Model,
    stepper: Stepper,
    state: PromptState,
    options: SampleOptions,
    *,
    history: Values | None = None,
    levels: Sequence[float] = LEVELS,
) -> Forecast:
    """Return the distribution of the values after a prompt, from `num_samples` samples of `length` values.

    Args:
        state: after the prompt.
        history: the prompt's values, if they are known more exactly than by their bins.
        levels: of the quantiles.

    Raises:
        OptionError: for levels that are not between 0 and 1, or a length below 1.
        ModelError: for a model of text, or if all samples end at once.

    Example:
        >>> series = charnn.load("runs/series").models[0]
        >>> stepper = charnn.api.build_stepper(series)
        >>> state = charnn.api.prefill(stepper, series.tokenizer, series.tokenizer.encode("12.1 12.9"))
        >>> charnn.api.forecast_after(series, stepper, state, SampleOptions(length=7, num_samples=20)).history
        array([12.1, 12.9])
    """
    tokenizer = numbers_tokenizer(model, "a forecast")
    levels = _checked_levels(levels)
    check_steps(options.length)
    seed = drawn_seed(options)
    requests = [SampleRequest(state, seed + number) for number in range(options.num_samples)]
    samples = finished_samples(build_sampler(model, stepper, options), requests)
    medians = np.array([math.nan, math.nan, *tokenizer.bins.medians])
    num_steps = max(len(sample.ids) for sample in samples)
    if not num_steps:
        raise ModelError(
            f"{model.path}: the series ends after these values in each of {len(samples):,} samples, so there is nothing to "
            "forecast; give fewer values, or more samples"
        )
    ids_ST = np.zeros((len(samples), num_steps), dtype=np.int64)
    for row, sample in zip(ids_ST, samples, strict=True):
        row[: len(sample.ids)] = sample.ids
    num_special = len(medians) - len(tokenizer.bins)
    counts_TV = np.array([np.bincount(ids_S, minlength=len(medians)) for ids_S in ids_ST.T])
    counts_TM = counts_TV[:, num_special:].astype(np.float64)
    known = (
        medians[np.array(state.ids[1:][-HISTORY_STORED:], dtype=np.int64)]
        if history is None
        else history[-HISTORY_STORED:]
    )
    return Forecast(
        levels,
        quantiles_of(tokenizer.bins, counts_TM, levels),
        medians[ids_ST],
        known,
        tokenizer.bins.decimals,
        seed,
    )


def _checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    try:
        checked = tuple(map(float, levels))
    except (TypeError, ValueError):
        checked = ()
    if not checked or not all(0 < level < 1 for level in checked):
        raise OptionError(
            "quantiles: found a level that is not between 0 and 1, or none; pass some, as in [0.1, 0.5, 0.9]"
        )
    return checked


def forecast_values(
    model: Model, values: Iterable[float] | None, options: SampleOptions, levels: Sequence[float] = LEVELS
) -> Forecast:
    """Return a forecast after some values, or after the series that the model was trained on.

    Args:
        values: NaN where one is missing; None for the end of the training series.

    Example:
        >>> model = charnn.load("runs/series").models[0]
        >>> charnn.api.forecast_values(model, None, SampleOptions(length=7, num_samples=20)).quantiles.shape
        (7, 5)
    """
    tokenizer, model = numbers_tokenizer(model, "a forecast"), with_label(model, options.label)
    if not isinstance(values, Iterable | None):
        raise TextError(f"values: found {values!r}; pass a list of numbers, and NaN for a missing one")
    check_can_write(model, options)
    check_steps(options.length)
    stepper = build_stepper(model, weights=options.weights, device=options.device)
    given = None if values is None else np.asarray(list(values), dtype=object)
    ids = end_of_series(model) if given is None else ids_of_values(tokenizer, given)
    history = None if given is None else given.astype(np.float64)
    state = prefill(stepper, tokenizer, ids)
    return forecast_after(model, stepper, state, options, history=history, levels=levels)
