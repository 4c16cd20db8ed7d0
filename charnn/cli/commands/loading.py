"""Finding and reading a model, as several commands do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console

if TYPE_CHECKING:
    from charnn.config.model import Direction
    from charnn.ngrams.mixture import Mixture
    from charnn.storage.model_directory import Model


def load_model(named: str | None) -> "Model":
    """Read the named model, or the newest one, whose directory is shown."""
    (model,) = load_directed(named, None)
    return model


def load_models(named: Sequence[str]) -> "list[Model]":
    """Read several models, each in its own direction."""
    models = [charnn.api.read_model(charnn.api.find_model(each)) for each in named]
    charnn.api.report_untrained(models)
    return models


def load_directed(named: str | None, direction: "Direction | None") -> "list[Model]":
    """Read the models of a direction (see `read_directed`); if no directory is named, show which one is used."""
    path = charnn.api.find_model(named)
    if named is None:
        console.notice(f"using the newest model, {path}")
    models = charnn.api.read_directed(path, direction)
    charnn.api.report_untrained(models)
    return models


def load_all_directions(named: str | None, direction: "Direction | None") -> "list[Model]":
    """Read the model of the requested direction, or both halves of a bidirectional model."""
    if direction is not None:
        return load_directed(named, direction)
    (model,) = load_directed(named, None)
    return charnn.api.with_backward_half(model)


def load_mixture(model: "Model", wanted: bool) -> "Mixture | None":
    """Read the n-gram model of a model directory, if the two are to be interpolated."""
    return charnn.api.read_mixture(model) if wanted else None
