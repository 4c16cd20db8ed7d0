"""The inspections by name, each in a module of this room."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from charnn.analysis.subjects import Subject, read_subjects
from charnn.analysis.tables import Inspection
from charnn.config import InspectOptions
from charnn.config.insight import Inspected
from charnn.notices import notice_logger
from charnn.storage.model_directory import read_config

logger = notice_logger(__name__)

MODULES: dict[Inspected, str] = {
    "gradients": "gradients",
    "neurons": "neurons",
    "embeddings": "embeddings",
    "states": "states",
    "memory": "training_memory",
    "dropout": "dropout_masks",
    "unrolled": "unrolled",
    "attention": "attention",
}
"""The module of each inspection, whose function `inspect(subjects, options)` returns its result."""
WITHOUT_TEXT = ("embeddings", "memory", "dropout")
"""Inspections that read no text."""


def applicable(what: Inspected, paths: Sequence[Path]) -> list[Path]:
    """Return the models that an inspection applies to, and log which ones it does not.

    Raises:
        ModelError: if a directory is no model.
    """
    if what != "attention":
        return list(paths)
    with_attention = {path: read_config(path).architecture.attention_window > 0 for path in paths}
    for path, has_attention in with_attention.items():
        if not has_attention:
            logger.info(f"{path}: has no attention, so that inspection is left out")
    return [path for path in paths if with_attention[path]]


def inspect_models(what: Inspected, paths: Sequence[Path], options: InspectOptions) -> Inspection:
    """Inspect models.

    Args:
        what: the name of an inspection.
        paths: the model directories.

    Raises:
        CharnnError: if a directory is no model, or there is nothing to read.
    """
    subjects = read_subjects(paths, options, needs_text=what not in WITHOUT_TEXT and not options.text)
    return inspect_subjects(what, subjects, options)


def inspect_subjects(what: Inspected, subjects: Sequence[Subject], options: InspectOptions) -> Inspection:
    """Inspect models that are read already."""
    module = importlib.import_module(f"charnn.analysis.{MODULES[what]}")
    found: Inspection = module.inspect(subjects, options)
    return found
