"""The models that are inspected, each with a text that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charnn.config import InspectOptions
from charnn.errors import ModelError, TextError
from charnn.inference.engine import Engine
from charnn.inference.tracing import TracingEngine
from charnn.notices import notice_logger
from charnn.storage.model_directory import Model, is_model, read_model, report_untrained
from charnn.storage.run_files import BACKWARD
from charnn.text.corpus import open_ids
from charnn.text.sources import display_name
from charnn.text.units import read_units
from charnn.text.vocabulary import as_text, visible

logger = notice_logger(__name__)


@dataclass(frozen=True)
class Subject:
    """A model and the text that it reads.

    Args:
        name: the model's directory as it was given.
        model: the model; of a bidirectional model, the forward half.
        ids: the encoded text (N,); boundaries close its lines or documents if the model's unit is one of them.
        origin: what the text is, such as "held-out text".
    """

    name: str
    model: Model
    ids: npt.NDArray[np.int64]
    origin: str

    @cached_property
    def engine(self) -> Engine:
        """The engine of the network."""
        return Engine.of(self.model)

    @cached_property
    def tracing_engine(self) -> TracingEngine:
        """An engine that records states and gates."""
        return TracingEngine.of(self.model)

    @property
    def inputs(self) -> npt.NDArray[np.int64]:
        """The token that the network reads before it predicts each token of the text (N,): first the boundary."""
        return np.concatenate(([self.model.tokenizer.vocabulary.boundary_id], self.ids[:-1])).astype(np.int64)

    def tokens(self, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[str]:
        """Return the text of each token as tables and pictures show it, with visible white space."""
        tokenizer = self.model.tokenizer
        return [visible(as_text(tokenizer.vocabulary.tokens[id], tokenizer.kind)) for id in ids]


def read_subjects(paths: Sequence[Path], options: InspectOptions, *, needs_text: bool = True) -> list[Subject]:
    """Read models and the text that they are to read: at most `options.tokens` of it.

    Args:
        needs_text: whether a model without a text to read is an error.

    Raises:
        ModelError: if a directory is no model, or has no held-out text and none is named.
        TextError: if the named file has no token.
    """
    refuse_repeated(paths)
    models = [read_model(path) for path in paths]
    report_untrained(models)
    return [_subject(str(path), model, options, needs_text) for path, model in zip(paths, models, strict=True)]


def refuse_repeated(paths: Sequence[Path]) -> None:
    """Check that no model is named twice. Raises ModelError."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise ModelError(f"{path}: is named twice; name each model once")
        seen.add(path.resolve())


def _subject(name: str, model: Model, options: InspectOptions, needs_text: bool) -> Subject:
    if is_model(model.path / BACKWARD):
        logger.info(f"{name}: is a bidirectional model, of which the forward half is inspected")
    if options.file is not None:
        return Subject(name, model, _ids_of_file(model, options.file, options), display_name(options.file))
    stored = model.path / "valid.bin"
    ids = open_ids(stored, model.tokenizer)[: options.tokens] if stored.exists() else np.zeros(0)
    if not len(ids) and needs_text:
        raise ModelError(f"{name}: has no held-out text to read; name a text with --file")
    return Subject(name, model, ids.astype(np.int64), "held-out text")


def _ids_of_file(model: Model, file: str, options: InspectOptions) -> npt.NDArray[np.int64]:
    """Return the first tokens of a file, as the model reads them, with the boundary that ends each unit."""
    tokenizer = model.tokenizer
    order = slice(None, None, -1 if model.architecture.direction == "backward" else 1)
    boundary = [] if tokenizer.unit == "stream" else [tokenizer.vocabulary.boundary_id]
    parts: list[npt.NDArray[np.int64]] = []
    num_tokens = 0
    for unit in read_units([file], tokenizer, unit=tokenizer.unit, encoding=options.encoding):
        parts.append(np.concatenate((tokenizer.encode(unit)[order], boundary)).astype(np.int64))
        num_tokens += len(parts[-1])
        if num_tokens >= options.tokens:
            break
    if not num_tokens:
        raise TextError(f"{display_name(file)}: contains no token; name a text with some")
    return np.concatenate(parts[order] if tokenizer.unit == "stream" else parts)[: options.tokens]
