"""The models that are served."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

import charnn.api
from charnn.config import ScoreOptions
from charnn.errors import ModelError
from charnn.serving.bodies import RequestError, shown
from charnn.serving.workers import Check, Workers

NUM_ASCII = 128
MAX_KEPT_STATES, MAX_KEPT_TOKENS = 32, 4096
"""Prompts whose states are kept, and their maximum length."""


class ServedModel:
    """A model with the thread that generates with it.

    Args:
        name: by which clients ask for it: that of its directory.
        max_waiting: see `charnn.sampling.generation.Generation`.
    """

    def __init__(self, path: Path, *, name: str, max_waiting: int) -> None:
        self.path, self.name = path, name
        self._reading, self._keeping = threading.Lock(), threading.Lock()
        self._states: dict[bytes, charnn.api.PromptState] = {}
        """The states after the last short prompts, which clients often send again."""
        self.language_model = charnn.api.load(path)
        self.model = self.language_model.models[0]
        self.tokenizer = self.language_model.tokenizer
        self.created = int((path / "model.safetensors").stat().st_mtime)
        """When its weights were written, in seconds since 1970."""
        self.stepper = charnn.api.build_stepper(self.model)
        self.generation = charnn.api.Generation(
            self.stepper,
            self.tokenizer,
            mixture=lambda: self.mixture,
            max_waiting=max_waiting,
        )

    @property
    def mixture(self) -> "charnn.api.Mixture":
        """Its n-gram model, and how the two are interpolated. Raises ModelError if it has none."""
        with self._reading:
            return self._mixture

    @cached_property
    def _mixture(self) -> "charnn.api.Mixture":
        return charnn.api.read_mixture(self.model)

    def prefill(self, ids: npt.NDArray[np.int64], check: Check) -> "charnn.api.PromptState":
        """Return the state after a prompt (N,); `check` is called between chunks."""
        key = ids.tobytes() if len(ids) <= MAX_KEPT_TOKENS else None
        state = None if key is None else self._states.get(key)
        if state is None:
            state = charnn.api.prefill(self.stepper, self.tokenizer, ids, check=check)
        if key is not None:
            with self._keeping:
                self._states.pop(key, None)
                self._states[key] = state
                while len(self._states) > MAX_KEPT_STATES:
                    del self._states[next(iter(self._states))]
        return state

    def prompt_tokens(
        self, ids: npt.NDArray[np.int64], check: Check, *, num_alternatives: int, mix_ngram: bool
    ) -> list["charnn.api.PromptToken"]:
        """Return the log probabilities of a prompt's tokens (N,); `check` is called between chunks."""
        return charnn.api.prompt_tokens(
            charnn.api.CheckingEstimator(self.estimator(mix_ngram), check),
            ids,
            boundary_id=self.tokenizer.vocabulary.boundary_id,
            num_alternatives=num_alternatives,
        )

    def scorer(self, options: ScoreOptions, check: Check) -> "charnn.api.Scorer":
        """Return what scores texts; `check` is called between chunks."""
        return replace(
            self._scorer, estimators=[charnn.api.CheckingEstimator(self.estimator(options.mix_ngram), check)]
        )

    @cached_property
    def _scorer(self) -> "charnn.api.Scorer":
        return charnn.api.build_scorer([self.model], ScoreOptions())

    def estimator(self, mix_ngram: bool) -> "charnn.api.Estimator":
        """Return what gives the probabilities of a text."""
        network = self._scorer.estimators[0]
        return charnn.api.with_ngrams(network, self.tokenizer, self.mixture) if mix_ngram else network

    @cached_property
    def names(self) -> Sequence[str]:
        """Each token as clients see it outside a text."""
        kind, tokens = self.tokenizer.kind, self.tokenizer.vocabulary.tokens
        if kind == "byte":
            return [*map(chr, range(NUM_ASCII)), *tokens[NUM_ASCII:]]
        return [charnn.api.as_text(token, kind) for token in tokens]

    def spelled(self, id: int) -> str:
        """Return a token as it is listed."""
        return charnn.api.as_text(self.tokenizer.vocabulary.tokens[id], self.tokenizer.kind)


class ServedModels:
    """The models of a server by name: that of their directory, or its path if another model has that name.

    Raises:
        ModelError: for a directory that is no model, or is named twice.
    """

    def __init__(self, paths: Sequence[Path], *, max_waiting: int) -> None:
        names: dict[str, Path] = {}
        for path in paths:
            if path.resolve() in {other.resolve() for other in names.values()}:
                raise ModelError(f"{path}: is named twice; name each model once")
            name = path.resolve().name
            names[next(each for each in (name, str(path), str(path.resolve())) if each not in names)] = path
        self.workers = Workers()
        self.by_name: dict[str, ServedModel] = {}
        try:
            for name, path in names.items():
                self.by_name[name] = ServedModel(path, name=name, max_waiting=max_waiting)
        except BaseException:
            self.close()
            raise

    def named(self, name: str | None) -> ServedModel:
        """Return a model by name, the first one without. Raises RequestError."""
        if name is None:
            return next(iter(self.by_name.values()))
        if name not in self.by_name:
            raise RequestError(
                f"model: found {shown(name)}, but this server has {', '.join(self.by_name)}", status=404, param="model"
            )
        return self.by_name[name]

    def close(self) -> None:
        """End the threads."""
        self.workers.close()
        for model in self.by_name.values():
            model.generation.close()

    def interrupt(self) -> None:
        """End all samples as they are, and all other work with an error."""
        self.workers.stop()
        for model in self.by_name.values():
            model.generation.interrupt()
