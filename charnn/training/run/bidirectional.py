"""A pair of networks that read a text from either side: one budget, shared, and what is left to do of it."""

from pathlib import Path

from charnn.config.training import BUDGETS, DEFAULT_MINUTES
from charnn.options import OptionValues
from charnn.storage.model_directory import is_half_of_bidirectional
from charnn.storage.run_config import RunConfig

FINISHED = ("budget", "patience")


def is_forward_half(config: RunConfig) -> bool:
    """Tell whether a model was begun as the forward half of a pair, in whose directory the other lies."""
    return is_half_of_bidirectional(config) and config.architecture.direction == "forward"


def directory_of_run(directory: Path, config: RunConfig) -> Path:
    """Return the directory by which a user names a run: for the backward half of a pair, that of the pair."""
    return directory.parent if is_half_of_bidirectional(config) and not is_forward_half(config) else directory


def with_a_budget(given: OptionValues) -> OptionValues:
    """Return options with the default budget where none is given."""
    return given if any(name in given for name in BUDGETS) else {**given, "minutes": DEFAULT_MINUTES}


def half_of_budget(given: OptionValues) -> OptionValues:
    """Return options with each network's half of the minutes; steps and epochs are a network's own."""
    return {**given, "minutes": given["minutes"] / 2} if "minutes" in given else given


def is_finished(config: RunConfig, given: OptionValues) -> bool:
    """Tell whether the forward half has nothing left to do, no other budget being given than it has spent."""
    has_stopped = config.results.stopped in FINISHED
    return has_stopped and all(given.get(name) in (None, getattr(config.training, name)) for name in BUDGETS)
