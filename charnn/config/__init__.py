"""Every option, declared once.

The command line is made from these dataclasses, `config.json` is written from them, recipes set them, and the README's option
tables are checked against them.
"""

from charnn.config.model import Architecture, CellName, ModelOptions
from charnn.config.running import ComparisonOptions, FillOptions, PredictOptions
from charnn.config.sampling import OnUnknown, SampleOptions
from charnn.config.scoring import ScoreOptions
from charnn.config.text import TextOptions, TokenizerKind, Unit
from charnn.config.training import TrainingOptions

__all__ = [
    "Architecture",
    "CellName",
    "ComparisonOptions",
    "FillOptions",
    "ModelOptions",
    "OnUnknown",
    "PredictOptions",
    "SampleOptions",
    "ScoreOptions",
    "TextOptions",
    "TokenizerKind",
    "TrainingOptions",
    "Unit",
]
