"""Samples that learn from their prompt and from themselves (`--adapt`)."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from charnn.config import SampleOptions
from charnn.inference.engine import log_softmax
from charnn.inference.prompt import PromptState
from charnn.inference.stepper import Stepper
from charnn.storage.model_directory import Model

if TYPE_CHECKING:
    from charnn.ngrams.adaptive_model import AdaptiveModel, AdaptiveReader


class AdaptedPrompts:
    """Learns from prompts, each for itself.

    Args:
        model: what is known before a prompt; it stays as it is.
        stepper: of one stream in its initial state.
    """

    def __init__(self, model: "AdaptiveModel", stepper: Stepper) -> None:
        self._model, self._stepper = model, stepper
        self._last: tuple[PromptState, AdaptiveReader] | None = None

    def reader(self, state: PromptState) -> "AdaptiveReader":
        """Return a reader that has learned from a prompt and goes on learning independently of others."""
        if self._last is None or self._last[0] is not state:
            self._last = state, self._read(state.ids)
        return self._last[1].copy()

    def _read(self, ids: list[int]) -> "AdaptiveReader":
        """Read a prompt, from the opening boundary on, again token by token: what is learned needs all distributions."""
        stepper = self._stepper.fork(self._stepper.state())
        reader = self._model.copy().reader()
        reader.push(ids[0])
        for before, id in pairwise(ids):
            reader.predict(log_softmax(stepper.step(np.array([before])))[0])
            reader.learn(id)
            reader.push(id)
        return reader


def adapted_prompts(model: Model, stepper: Stepper, options: SampleOptions) -> AdaptedPrompts | None:
    """Return what learns from prompts, if sampling options ask for it.

    Args:
        stepper: of one stream in its initial state.

    Raises:
        ModelError: if the training text is not what it was.

    Example:
        >>> charnn.api.adapted_prompts(model.models[0], stepper, SampleOptions())
    """
    if not options.adapt:
        return None

    from charnn.storage.adaptation import build_adaptive_model  # sampling seldom needs it

    return AdaptedPrompts(build_adaptive_model(model), stepper)
