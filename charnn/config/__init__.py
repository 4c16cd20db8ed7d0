"""Every option, declared once.

The command line and the option reference (charnn/cli/OPTIONS.md) are generated from these dataclasses, `config.json` is
written from them, and recipes set them. A name's module is imported on first use: a command imports only its own options.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charnn.config.export import ExportOptions
    from charnn.config.insight import InspectOptions, ReportOptions
    from charnn.config.inspection import ComparisonOptions, FillOptions, PredictOptions
    from charnn.config.labels import ClassifyOptions
    from charnn.config.model import Architecture, CellName, ModelOptions
    from charnn.config.sampling import OnUnknown, SampleOptions
    from charnn.config.scoring import ScoreOptions
    from charnn.config.serving import ServeOptions
    from charnn.config.text import ScoredUnit, TextOptions, TokenizerKind, Unit
    from charnn.config.training import TrainingOptions

__all__ = [
    "Architecture",
    "CellName",
    "ClassifyOptions",
    "ComparisonOptions",
    "ExportOptions",
    "FillOptions",
    "InspectOptions",
    "ModelOptions",
    "OnUnknown",
    "PredictOptions",
    "ReportOptions",
    "SampleOptions",
    "ScoreOptions",
    "ScoredUnit",
    "ServeOptions",
    "TextOptions",
    "TokenizerKind",
    "TrainingOptions",
    "Unit",
]

_MODULES = {
    "model": ("Architecture", "CellName", "ModelOptions"),
    "export": ("ExportOptions",),
    "inspection": ("ComparisonOptions", "FillOptions", "PredictOptions"),
    "labels": ("ClassifyOptions",),
    "insight": ("InspectOptions", "ReportOptions"),
    "sampling": ("OnUnknown", "SampleOptions"),
    "scoring": ("ScoreOptions",),
    "text": ("ScoredUnit", "TextOptions", "TokenizerKind", "Unit"),
    "serving": ("ServeOptions",),
    "training": ("TrainingOptions",),
}


def __getattr__(name: str) -> Any:
    """Import the module that declares a name."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"charnn.config.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
