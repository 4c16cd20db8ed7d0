"""What several commands begin with: finding and reading a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console

if TYPE_CHECKING:
    from charnn.config.model import Direction
    from charnn.ngrams.mixture import Mixture
    from charnn.storage.model_directory import Model


def load_model(named: str | None) -> "Model":
    """Read the model that was named, or the newest, and say which one was taken."""
    (model,) = load_directed(named, None)
    return model


def load_models(named: Sequence[str]) -> "list[Model]":
    """Read several models, each in the direction of its own."""
    return [charnn.api.read_model(charnn.api.find_model(each)) for each in named]


def load_directed(named: str | None, direction: "Direction | None") -> "list[Model]":
    """Read the models that read in a direction (see `read_directed`), and say which directory was taken."""
    path = charnn.api.find_model(named)
    if named is None:
        console.notice(f"taking the newest model, {path}")
    return charnn.api.read_directed(path, direction)


def load_all_directions(named: str | None, direction: "Direction | None") -> "list[Model]":
    """Read the models of the wished direction, or all that there are."""
    if direction is not None:
        return load_directed(named, direction)
    (model,) = load_directed(named, None)
    return charnn.api.with_backward_half(model)


def load_mixture(model: "Model", wanted: bool) -> "Mixture | None":
    """Read the n-gram model beside a model's network, where the user asks to interpolate them."""
    return charnn.api.read_mixture(model) if wanted else None
