"""Validation of JSON objects against dataclasses; reading an architecture."""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from charnn.cells import known_cells
from charnn.cells.ngram_embedding import MAX_ROWS
from charnn.cells.word_prefix import MAX_WORD_ROWS
from charnn.config import Architecture, ModelOptions
from charnn.errors import ModelError
from charnn.options import declared_options

_MAY_BE_ZERO = (
    "skip",
    "mogrifier_rounds",
    "mogrifier_rank",
    "attention_window",
    "attention_size",
    "num_labels",
    "word_rows",
)
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)
"""The exceptions that missing or invalid values raise."""


def unreadable(file: str, error: Exception) -> ModelError:
    """Return the error that a user sees for such an exception."""
    return ModelError(f"{file}: does not describe a model that charnn knows ({error}); restore the file")


def read_architecture(values: Mapping[str, Any], file: str) -> Architecture:
    """Read the architecture of a network, in which every field must be known."""
    architecture = Architecture(**values)
    cell = architecture.cell
    if isinstance(cell, str) and cell not in known_cells():
        raise ModelError(
            f"{file}: has the cell {cell!r}, which charnn does not know; if it is a custom cell, call "
            f"charnn.register_cell({cell!r}, ...) first, otherwise restore config.json"
        )
    check_values(Architecture, values)
    at_most = _upper_bounds()
    for name, value in asdict(architecture).items():
        if type(value) is int and not (0 if name in _MAY_BE_ZERO else 1) <= value <= at_most.get(name, math.inf):
            raise ValueError(_complaint(name, value))
    if (architecture.word_codes is not None) != bool(architecture.word_rows):
        raise ValueError(_complaint("word_rows", architecture.word_rows))
    if architecture.word_codes is not None:  # a list in JSON
        if len(architecture.word_codes) != architecture.vocab_size or architecture.word_rows > MAX_WORD_ROWS:
            raise ValueError(_complaint("word_codes", len(architecture.word_codes)))
        architecture = replace(architecture, word_codes=tuple(architecture.word_codes))
    sizes = architecture.ngram_table_sizes  # a list in JSON
    if sizes is None:
        return architecture
    if len(sizes) != architecture.embedding_order - 1 or not all(1 <= size <= MAX_ROWS for size in sizes):
        raise ValueError(_complaint("ngram_table_sizes", sizes))
    return replace(architecture, ngram_table_sizes=tuple(sizes))


@cache
def _upper_bounds() -> dict[str, float]:
    """Return the upper bounds of fields of an architecture: those of the options by which they were set."""
    declared = declared_options(ModelOptions)
    return {name: option.at_most for name, (_, option) in declared.items() if option.at_most is not None}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def names_of(kind: type) -> set[str]:
    """Return the field names of a dataclass."""
    return {each.name for each in fields(kind)}


def check_values(kind: type, values: Mapping[str, Any]) -> None:
    """Check values against the types of their fields. Raises ValueError."""
    for name, value in values.items():
        is_known_cell = name == "cell" and value in known_cells()
        if not is_known_cell and not _fits(_hints(kind)[name], value):
            raise ValueError(_complaint(name, value))


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(part, value) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (list, tuple):
        return isinstance(value, list) and all(_fits(get_args(hint)[0], each) for each in value)
    if hint is NoneType:
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is hint


def _complaint(name: str, value: object) -> str:
    return f"unknown {name.replace('_', ' ')} {value!r}"
