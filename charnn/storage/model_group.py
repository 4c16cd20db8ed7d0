"""Models loaded together, the halves of a bidirectional one or several to interpolate, and which of them serves a purpose."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from charnn.cells.parameters import expected_shapes
from charnn.config import ScoreOptions
from charnn.config.model import Direction
from charnn.errors import ModelError
from charnn.storage.model_directory import Model


@dataclass(frozen=True)
class ModelGroup:
    """One model; the forward and the backward half of a bidirectional model; or several to interpolate.

    Args:
        weights: interpolation weights, one per model; none if nothing is interpolated.
    """

    models: tuple[Model, ...]
    weights: tuple[float, ...] = ()

    @property
    def is_interpolated(self) -> bool:
        """Whether the probabilities of several models are interpolated."""
        return bool(self.weights)

    @property
    def is_bidirectional(self) -> bool:
        """Whether these are a forward and a backward network."""
        return not self.is_interpolated and len(self.models) == 2

    @property
    def num_parameters(self) -> int:
        """The number of parameters, summed over all networks."""
        shapes = (shape for model in self.models for shape in expected_shapes(model.architecture).values())
        return sum(math.prod(shape) for shape in shapes)

    def single(self, purpose: str) -> Model:
        """Return the only model, or the forward half of a bidirectional model.

        Raises:
            ModelError: if several models are interpolated.
        """
        if self.is_interpolated:
            raise ModelError(
                f"{self.models[0].path}: is interpolated, but {purpose} requires a single model; load it alone"
            )
        return self.models[0]

    def of_direction(self, direction: Direction | None) -> tuple[Model, ...]:
        """Return the models that read in a direction: "forward", "backward", "both", or None for those there are.

        Raises:
            ModelError: if there is none.
        """
        if direction in (None, "both") and (direction is None) != self.is_bidirectional:
            return self.models
        wanted = direction or "forward"
        models = tuple(model for model in self.models if model.architecture.direction == wanted)
        if not models or direction == "both":
            path = self.models[0].path
            raise ModelError(f"{path}: holds no model of direction {wanted}; train one with direction={wanted!r}")
        return models

    def for_scoring(self, options: ScoreOptions) -> tuple[Sequence[Model], ScoreOptions]:
        """Return the models that options select, and the options with this group's direction and weights."""
        if self.is_bidirectional:
            options = replace(options, direction=options.direction or "forward")
        models = self.of_direction(options.direction) if not self.is_interpolated else self.models
        return models, replace(options, weight=self.weights) if self.is_interpolated else options
