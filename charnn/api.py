"""What charnn offers, by name: the public names of `import charnn`, and what the command line is made of.

A name's module is imported when the name is used, so that each command loads what it needs: NumPy to run a model, torch to
train one.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charnn.analysis.comparison import compare_files as compare_files
    from charnn.analysis.comparison import have_same_vocabulary as have_same_vocabulary
    from charnn.inference.build import build_stepper as build_stepper
    from charnn.inference.engine import engines_of as engines_of
    from charnn.inference.prediction import next_distribution as next_distribution
    from charnn.inference.prompt_state import save_start as save_start
    from charnn.language_model import LanguageModel as LanguageModel
    from charnn.library import compare as compare
    from charnn.library import interpolate as interpolate
    from charnn.library import load as load
    from charnn.library import train as train
    from charnn.recipes import load_recipe as load_recipe
    from charnn.sampling.build import Prompts as Prompts
    from charnn.sampling.build import build_sampler as build_sampler
    from charnn.sampling.build import check_can_write as check_can_write
    from charnn.sampling.build import drawn_seed as drawn_seed
    from charnn.sampling.build import plans as plans
    from charnn.sampling.build import searches as searches
    from charnn.sampling.build import short_sample as short_sample
    from charnn.scoring.build import build_plain_scorer as build_plain_scorer
    from charnn.scoring.build import build_scorer as build_scorer
    from charnn.scoring.cloze import find_blank as find_blank
    from charnn.scoring.cloze import judge_blank as judge_blank
    from charnn.scoring.cloze import ranked_blank as ranked_blank
    from charnn.scoring.formats import summary as summary
    from charnn.scoring.infilling import fill as fill
    from charnn.storage.model_directory import find_model as find_model
    from charnn.storage.model_directory import read_directed as read_directed
    from charnn.storage.model_directory import read_mixture as read_mixture
    from charnn.storage.model_directory import read_model as read_model
    from charnn.storage.model_directory import with_backward_half as with_backward_half
    from charnn.text.units import read_prompt as read_prompt
    from charnn.text.units import read_prompts as read_prompts
    from charnn.text.units import read_units as read_units
    from charnn.training.events import Evaluated as Evaluated
    from charnn.training.events import Stopped as Stopped
    from charnn.training.planning.lr_range_test import proposal as proposal
    from charnn.training.run.bidirectional import directory_of_run as directory_of_run
    from charnn.training.run.create import minutes_to_learn as minutes_to_learn
    from charnn.training.run.learning_rates import try_learning_rates as try_learning_rates
    from charnn.training.run.networks import default_directory as default_directory
    from charnn.training.run.networks import make_request as make_request
    from charnn.training.run.networks import networks as networks
    from charnn.training.run.run import run as run

_MODULES = {
    "analysis.comparison": (
        "compare_files",
        "have_same_vocabulary",
    ),
    "inference.build": ("build_stepper",),
    "inference.engine": ("engines_of",),
    "inference.prediction": ("next_distribution",),
    "inference.prompt_state": ("save_start",),
    "library": (
        "compare",
        "interpolate",
        "load",
        "train",
    ),
    "language_model": ("LanguageModel",),
    "recipes": ("load_recipe",),
    "sampling.build": (
        "Prompts",
        "build_sampler",
        "check_can_write",
        "drawn_seed",
        "plans",
        "searches",
        "short_sample",
    ),
    "scoring.build": (
        "build_plain_scorer",
        "build_scorer",
    ),
    "scoring.cloze": (
        "find_blank",
        "judge_blank",
        "ranked_blank",
    ),
    "scoring.formats": ("summary",),
    "scoring.infilling": ("fill",),
    "storage.model_directory": (
        "find_model",
        "read_directed",
        "read_mixture",
        "read_model",
        "with_backward_half",
    ),
    "text.units": ("read_prompt", "read_prompts", "read_units"),
    "training.events": (
        "Evaluated",
        "Stopped",
    ),
    "training.planning.lr_range_test": ("proposal",),
    "training.run.bidirectional": ("directory_of_run",),
    "training.run.create": ("minutes_to_learn",),
    "training.run.learning_rates": ("try_learning_rates",),
    "training.run.networks": (
        "default_directory",
        "make_request",
        "networks",
    ),
    "training.run.run": ("run",),
}


def __getattr__(name: str) -> Any:
    """Import what defines a name."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"charnn.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
