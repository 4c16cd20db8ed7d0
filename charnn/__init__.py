"""Train a recurrent language model on your own text, write with it, and score sentences.

Example:
    >>> import charnn
    >>> model = charnn.load("runs/book")
    >>> print(model.sample("The fox", length=200, temperature=0.8, seed=7).text)
    >>> model.score("The fox slept.").perplexity

Names are looked up when they are used, so that importing the package costs nothing; torch is loaded by training alone.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charnn import api as api
    from charnn.analysis.comparison import Difference
    from charnn.cells import Cell, register_cell
    from charnn.cluster.dataset import score_dataset
    from charnn.cluster.sweep import sweep
    from charnn.errors import (
        CharnnError,
        ModelError,
        OptionError,
        StorageError,
        TextError,
        TrainingError,
        UnknownTokenError,
    )
    from charnn.inference.prediction import NextToken
    from charnn.language_model import LanguageModel
    from charnn.library import compare, inspect, interpolate, load, train
    from charnn.report.writing import write_report
    from charnn.sampling.build import SampledText
    from charnn.sampling.completion import NextWord
    from charnn.sampling.forecast import Forecast
    from charnn.scoring.infilling import Filling
    from charnn.scoring.scores import Score, ScoredToken
    from charnn.scoring.words import ScoredWord
    from charnn.text.tokenizers import Token

__version__ = "0.1.0"
__all__ = [
    "Cell",
    "CharnnError",
    "Difference",
    "Filling",
    "Forecast",
    "LanguageModel",
    "ModelError",
    "NextToken",
    "NextWord",
    "OptionError",
    "SampledText",
    "Score",
    "ScoredToken",
    "ScoredWord",
    "StorageError",
    "TextError",
    "Token",
    "TrainingError",
    "UnknownTokenError",
    "__version__",
    "compare",
    "inspect",
    "interpolate",
    "load",
    "register_cell",
    "score_dataset",
    "sweep",
    "train",
    "write_report",
]

_NAMES = {
    "analysis.comparison": ("Difference",),
    "library": ("compare", "inspect", "interpolate", "load", "train"),
    "cells": ("Cell", "register_cell"),
    "cluster.dataset": ("score_dataset",),
    "cluster.sweep": ("sweep",),
    "errors": (
        "CharnnError",
        "ModelError",
        "OptionError",
        "StorageError",
        "TextError",
        "TrainingError",
        "UnknownTokenError",
    ),
    "inference.prediction": ("NextToken",),
    "report.writing": ("write_report",),
    "language_model": ("LanguageModel",),
    "sampling.build": ("SampledText",),
    "sampling.completion": ("NextWord",),
    "sampling.forecast": ("Forecast",),
    "scoring.infilling": ("Filling",),
    "scoring.scores": ("Score", "ScoredToken"),
    "scoring.words": ("ScoredWord",),
    "text.tokenizers": ("Token",),
}


_MODULES = {name: f"charnn.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import what defines a public name, or the module `charnn.api`."""
    if name == "api":
        return importlib.import_module("charnn.api")
    if name not in _MODULES:
        raise AttributeError(f"module 'charnn' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
