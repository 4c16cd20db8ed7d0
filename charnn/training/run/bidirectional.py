"""The two networks of a bidirectional model: their directories and how they divide the budget."""

from pathlib import Path

from charnn.config.training import BUDGETS, DEFAULT_MINUTES
from charnn.options import OptionValues
from charnn.storage.model_directory import is_half_of_bidirectional
from charnn.storage.run_config import RunConfig


def is_forward_half(config: RunConfig) -> bool:
    """Return whether a model is the forward half of a bidirectional model; its directory contains the backward half."""
    return is_half_of_bidirectional(config) and config.architecture.direction == "forward"


def directory_of_run(directory: Path, config: RunConfig) -> Path:
    """Return the directory of the run that a model belongs to: the parent, for the backward half of a bidirectional model."""
    return directory.parent if is_half_of_bidirectional(config) and not is_forward_half(config) else directory


def with_default_budget(overrides: OptionValues) -> OptionValues:
    """Return the overrides with the default budget added if they contain none."""
    return overrides if any(name in overrides for name in BUDGETS) else {**overrides, "minutes": DEFAULT_MINUTES}


def half_of_budget(overrides: OptionValues) -> OptionValues:
    """Return the overrides with half of the minutes; steps and epochs apply to each network."""
    minutes = overrides.get("minutes")
    return {**overrides, "minutes": minutes / 2} if isinstance(minutes, (int, float)) else overrides


def is_finished(config: RunConfig, overrides: OptionValues) -> bool:
    """Return whether the forward half has finished and the overrides do not change its budget."""
    return config.results.is_finished and all(
        overrides.get(name) in (None, getattr(config.training, name)) for name in BUDGETS
    )
