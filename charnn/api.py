"""What charnn offers, by name: the public names of `import charnn`, and what the command line is made of.

A name's module is imported when the name is used, so that each command loads what it needs: NumPy to run a model, torch to
train one.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charnn.analysis.comparison import compare_files as compare_files
    from charnn.analysis.comparison import have_same_vocabulary as have_same_vocabulary
    from charnn.analysis.comparison import score_options_of as score_options_of
    from charnn.analysis.exposure_bias import bands as bands
    from charnn.analysis.exposure_bias import roll_out as roll_out
    from charnn.analysis.inspections import applicable as applicable
    from charnn.analysis.inspections import inspect_models as inspect_models
    from charnn.analysis.memorization import measure_memorization as measure_memorization
    from charnn.analysis.minimal_pairs import ScoredPair as ScoredPair
    from charnn.analysis.minimal_pairs import accuracies as accuracies
    from charnn.analysis.minimal_pairs import read_pairs as read_pairs
    from charnn.analysis.overview import read_overview as read_overview
    from charnn.analysis.tables import in_words as in_words
    from charnn.cells.parameters import expected_shapes as expected_shapes
    from charnn.cells.parameters import parameter_counts as parameter_counts
    from charnn.cluster.dataset import score_dataset as score_dataset
    from charnn.cluster.job import check_divisible as check_divisible
    from charnn.cluster.job import open_job as open_job
    from charnn.cluster.job import score_part as score_part
    from charnn.cluster.merging import merge as merge
    from charnn.cluster.parts import is_finished as is_finished
    from charnn.cluster.parts import part_path as part_path
    from charnn.cluster.ray_scoring import check_ray as check_ray
    from charnn.cluster.ray_scoring import score_on_ray as score_on_ray
    from charnn.cluster.results import SweepResult as SweepResult
    from charnn.cluster.settings import parsed_options as parsed_options
    from charnn.cluster.sweep import ended_runs as ended_runs
    from charnn.cluster.sweep import finished_config as finished_config
    from charnn.cluster.sweep import planned_runs as planned_runs
    from charnn.cluster.sweep import results_of as results_of
    from charnn.cluster.sweep import sweep as sweep
    from charnn.files import WORKING_DIRECTORY_IS_GONE as WORKING_DIRECTORY_IS_GONE
    from charnn.files import LineFile as LineFile
    from charnn.files import explain_write_errors as explain_write_errors
    from charnn.files import has_working_directory as has_working_directory
    from charnn.files import refuse_unwritable as refuse_unwritable
    from charnn.files import to_json as to_json
    from charnn.files import write_output as write_output
    from charnn.inference.build import build_stepper as build_stepper
    from charnn.inference.engine import Engine as Engine
    from charnn.inference.engine import IdArray as IdArray
    from charnn.inference.engine import engines_of as engines_of
    from charnn.inference.prediction import next_distribution as next_distribution
    from charnn.inference.prompt import PromptState as PromptState
    from charnn.inference.prompt import encode_prompt as encode_prompt
    from charnn.inference.prompt import prefill as prefill
    from charnn.inference.prompt import without_trailing_space as without_trailing_space
    from charnn.inference.prompt_state import save_prompt_state as save_prompt_state
    from charnn.inference.threads import limited_blas_threads as limited_blas_threads
    from charnn.inference.tracing import TracingEngine as TracingEngine
    from charnn.language_model import LanguageModel as LanguageModel
    from charnn.launch import is_follower as is_follower
    from charnn.library import compare as compare
    from charnn.library import inspect as inspect
    from charnn.library import interpolate as interpolate
    from charnn.library import load as load
    from charnn.library import train as train
    from charnn.ngrams.mixture import Mixture as Mixture
    from charnn.recipes import load_recipe as load_recipe
    from charnn.recipes import recipe_names as recipe_names
    from charnn.sampling.adapting import adapted_prompts as adapted_prompts
    from charnn.sampling.build import Prompts as Prompts
    from charnn.sampling.build import build_sampler as build_sampler
    from charnn.sampling.build import check_can_write as check_can_write
    from charnn.sampling.build import drawn_seed as drawn_seed
    from charnn.sampling.build import sample_requests as sample_requests
    from charnn.sampling.build import searches as searches
    from charnn.sampling.build import short_sample as short_sample
    from charnn.sampling.completion import WordCompleter as WordCompleter
    from charnn.sampling.forecast import Forecast as Forecast
    from charnn.sampling.forecast import end_of_series as end_of_series
    from charnn.sampling.forecast import forecast_after as forecast_after
    from charnn.sampling.forecast import forecast_values as forecast_values
    from charnn.sampling.forecast import numbers_tokenizer as numbers_tokenizer
    from charnn.sampling.generation import Generation as Generation
    from charnn.sampling.generation import QueueFullError as QueueFullError
    from charnn.sampling.interactive import InteractiveWriter as InteractiveWriter
    from charnn.sampling.jobs import Job as Job
    from charnn.sampling.jobs import Update as Update
    from charnn.sampling.sampler import SampleUpdate as SampleUpdate
    from charnn.sampling.streams import Alternatives as Alternatives
    from charnn.sampling.streams import Sample as Sample
    from charnn.sampling.streams import SampleRequest as SampleRequest
    from charnn.scoring.build import Scorer as Scorer
    from charnn.scoring.build import build_plain_scorer as build_plain_scorer
    from charnn.scoring.build import build_scorer as build_scorer
    from charnn.scoring.classification import classify as classify
    from charnn.scoring.cloze import find_gap as find_gap
    from charnn.scoring.cloze import ranked_tokens as ranked_tokens
    from charnn.scoring.cloze import score_cloze as score_cloze
    from charnn.scoring.estimators import CheckingEstimator as CheckingEstimator
    from charnn.scoring.estimators import Estimator as Estimator
    from charnn.scoring.format_choice import format_of as format_of
    from charnn.scoring.formats import in_base as in_base
    from charnn.scoring.formats import summary as summary
    from charnn.scoring.formats import tab_separated as tab_separated
    from charnn.scoring.formats import words_of as words_of
    from charnn.scoring.infilling import fill as fill
    from charnn.scoring.labelled import LabelledScorer as LabelledScorer
    from charnn.scoring.labelled import check_label_column as check_label_column
    from charnn.scoring.labelled import label_of as label_of
    from charnn.scoring.nbest import Best as Best
    from charnn.scoring.nbest import combined as combined
    from charnn.scoring.nbest import read_hypotheses as read_hypotheses
    from charnn.scoring.preflight import input_to_score as input_to_score
    from charnn.scoring.preflight import report_unknown as report_unknown
    from charnn.scoring.preflight import units_to_score as units_to_score
    from charnn.scoring.preflight import with_default_unit as with_default_unit
    from charnn.scoring.prompt_tokens import PromptToken as PromptToken
    from charnn.scoring.prompt_tokens import prompt_tokens as prompt_tokens
    from charnn.scoring.protocol import protocol_in_words as protocol_in_words
    from charnn.scoring.protocol import protocol_of as protocol_of
    from charnn.scoring.protocol import validation_in_words as validation_in_words
    from charnn.scoring.protocol import validation_protocol as validation_protocol
    from charnn.scoring.regions import scored_regions as scored_regions
    from charnn.scoring.scorer import estimator_of as estimator_of
    from charnn.scoring.scorer import with_ngrams as with_ngrams
    from charnn.scoring.scores import Score as Score
    from charnn.scoring.scores import perplexity as perplexity
    from charnn.scoring.strands import in_letters as in_letters
    from charnn.scoring.strands import strands_in_words as strands_in_words
    from charnn.scoring.token_scores import JoinedTokens as JoinedTokens
    from charnn.scoring.totals import Totals as Totals
    from charnn.storage.labels import with_label as with_label
    from charnn.storage.labels import without_labels as without_labels
    from charnn.storage.mixture import read_mixture as read_mixture
    from charnn.storage.mixture import read_sampling_mixture as read_sampling_mixture
    from charnn.storage.model_directory import find_model as find_model
    from charnn.storage.model_directory import is_model as is_model
    from charnn.storage.model_directory import is_model_file as is_model_file
    from charnn.storage.model_directory import read_config as read_config
    from charnn.storage.model_directory import read_directed as read_directed
    from charnn.storage.model_directory import read_model as read_model
    from charnn.storage.model_directory import read_ngrams as read_ngrams
    from charnn.storage.model_directory import report_untrained as report_untrained
    from charnn.storage.model_directory import with_backward_half as with_backward_half
    from charnn.storage.new_directory import check_available as check_available
    from charnn.storage.new_directory import default_directory as default_directory
    from charnn.storage.run_files import BACKWARD as BACKWARD
    from charnn.storage.run_files import NGRAM_FILE as NGRAM_FILE
    from charnn.storage.run_files import stored_files as stored_files
    from charnn.text.bins import is_of_numbers as is_of_numbers
    from charnn.text.bins import is_series as is_series
    from charnn.text.bins import values_of as values_of
    from charnn.text.cache import MOST_BYTES as MOST_BYTES
    from charnn.text.cache import cache_directory as cache_directory
    from charnn.text.cache import entries as entries
    from charnn.text.characters import whole_characters as whole_characters
    from charnn.text.corpus import open_ids as open_ids
    from charnn.text.decoders import Decoder as Decoder
    from charnn.text.located import given_texts as given_texts
    from charnn.text.located import note_table as note_table
    from charnn.text.located import read_cells as read_cells
    from charnn.text.reading import begun as begun
    from charnn.text.sources import PACKED_SUFFIXES as PACKED_SUFFIXES
    from charnn.text.sources import check_exist as check_exist
    from charnn.text.sources import display_name as display_name
    from charnn.text.sources import empty_text_error as empty_text_error
    from charnn.text.sources import named_files as named_files
    from charnn.text.tokenizers import decode as decode
    from charnn.text.units import read_prompt as read_prompt
    from charnn.text.units import read_prompts as read_prompts
    from charnn.text.units import read_series as read_series
    from charnn.text.units import read_units as read_units
    from charnn.text.vocabulary import as_text as as_text
    from charnn.text.vocabulary import visible as visible
    from charnn.training.events import Evaluated as Evaluated
    from charnn.training.events import Progressed as Progressed
    from charnn.training.events import RolledBack as RolledBack
    from charnn.training.events import SaveFailed as SaveFailed
    from charnn.training.events import SpeedChanged as SpeedChanged
    from charnn.training.events import Stopped as Stopped
    from charnn.training.planning.lr_range_test import proposal as proposal
    from charnn.training.planning.sizes import resolve_architecture as resolve_architecture
    from charnn.training.run.bidirectional import directory_of_run as directory_of_run
    from charnn.training.run.create import minutes_to_learn as minutes_to_learn
    from charnn.training.run.following import follow as follow
    from charnn.training.run.learning_rates import try_learning_rates as try_learning_rates
    from charnn.training.run.networks import networks as networks
    from charnn.training.run.request import make_request as make_request
    from charnn.training.run.session import run as run

_NAMES = {
    "cluster.results": ("SweepResult",),
    "cluster.sweep": (
        "ended_runs",
        "finished_config",
        "planned_runs",
        "results_of",
        "sweep",
    ),
    "cluster.settings": ("parsed_options",),
    "scoring.totals": ("Totals",),
    "cluster.dataset": ("score_dataset",),
    "cluster.ray_scoring": ("check_ray", "score_on_ray"),
    "cluster.parts": ("is_finished", "part_path"),
    "cluster.merging": ("merge",),
    "cluster.job": ("check_divisible", "open_job", "score_part"),
    "analysis.comparison": ("compare_files", "have_same_vocabulary", "score_options_of"),
    "analysis.exposure_bias": ("bands", "roll_out"),
    "analysis.inspections": ("applicable", "inspect_models"),
    "analysis.memorization": ("measure_memorization",),
    "analysis.minimal_pairs": ("ScoredPair", "accuracies", "read_pairs"),
    "analysis.overview": ("read_overview",),
    "analysis.tables": ("in_words",),
    "cells.parameters": ("expected_shapes", "parameter_counts"),
    "files": (
        "WORKING_DIRECTORY_IS_GONE",
        "LineFile",
        "explain_write_errors",
        "has_working_directory",
        "refuse_unwritable",
        "to_json",
        "write_output",
    ),
    "inference.build": ("build_stepper",),
    "inference.engine": ("Engine", "IdArray", "engines_of"),
    "inference.prediction": ("next_distribution",),
    "inference.prompt": (
        "PromptState",
        "encode_prompt",
        "prefill",
        "without_trailing_space",
    ),
    "inference.prompt_state": ("save_prompt_state",),
    "inference.threads": ("limited_blas_threads",),
    "inference.tracing": ("TracingEngine",),
    "language_model": ("LanguageModel",),
    "launch": ("is_follower",),
    "library": (
        "compare",
        "inspect",
        "interpolate",
        "load",
        "train",
    ),
    "ngrams.mixture": ("Mixture",),
    "recipes": ("load_recipe", "recipe_names"),
    "sampling.adapting": ("adapted_prompts",),
    "sampling.build": (
        "Prompts",
        "build_sampler",
        "check_can_write",
        "drawn_seed",
        "sample_requests",
        "searches",
        "short_sample",
    ),
    "sampling.completion": ("WordCompleter",),
    "sampling.forecast": ("Forecast", "end_of_series", "forecast_after", "forecast_values", "numbers_tokenizer"),
    "sampling.generation": ("Generation", "QueueFullError"),
    "sampling.interactive": ("InteractiveWriter",),
    "sampling.jobs": ("Job", "Update"),
    "sampling.sampler": ("SampleUpdate",),
    "sampling.streams": ("Alternatives", "Sample", "SampleRequest"),
    "scoring.build": ("Scorer", "build_plain_scorer", "build_scorer"),
    "scoring.classification": ("classify",),
    "scoring.cloze": ("find_gap", "ranked_tokens", "score_cloze"),
    "scoring.estimators": ("CheckingEstimator", "Estimator"),
    "scoring.format_choice": ("format_of",),
    "scoring.formats": (
        "in_base",
        "summary",
        "tab_separated",
        "words_of",
    ),
    "scoring.infilling": ("fill",),
    "scoring.labelled": ("LabelledScorer", "check_label_column", "label_of"),
    "scoring.nbest": ("Best", "combined", "read_hypotheses"),
    "scoring.regions": ("scored_regions",),
    "scoring.prompt_tokens": ("PromptToken", "prompt_tokens"),
    "scoring.strands": ("in_letters", "strands_in_words"),
    "scoring.scorer": ("estimator_of", "with_ngrams"),
    "scoring.scores": ("Score", "perplexity"),
    "scoring.preflight": ("input_to_score", "report_unknown", "units_to_score", "with_default_unit"),
    "scoring.protocol": (
        "protocol_in_words",
        "protocol_of",
        "validation_in_words",
        "validation_protocol",
    ),
    "scoring.token_scores": ("JoinedTokens",),
    "storage.labels": ("with_label", "without_labels"),
    "storage.mixture": ("read_mixture", "read_sampling_mixture"),
    "storage.model_directory": (
        "find_model",
        "is_model",
        "is_model_file",
        "read_config",
        "read_directed",
        "read_model",
        "read_ngrams",
        "report_untrained",
        "with_backward_half",
    ),
    "storage.new_directory": ("check_available", "default_directory"),
    "storage.run_files": ("BACKWARD", "NGRAM_FILE", "stored_files"),
    "text.bins": ("is_of_numbers", "is_series", "values_of"),
    "text.cache": ("MOST_BYTES", "cache_directory", "entries"),
    "text.characters": ("whole_characters",),
    "text.corpus": ("open_ids",),
    "text.located": ("given_texts", "note_table", "read_cells"),
    "text.decoders": ("Decoder",),
    "text.reading": ("begun",),
    "text.sources": (
        "PACKED_SUFFIXES",
        "check_exist",
        "display_name",
        "empty_text_error",
        "named_files",
    ),
    "text.tokenizers": ("decode",),
    "text.units": ("read_prompt", "read_prompts", "read_series", "read_units"),
    "text.vocabulary": ("as_text", "visible"),
    "training.events": (
        "Evaluated",
        "Progressed",
        "RolledBack",
        "SaveFailed",
        "SpeedChanged",
        "Stopped",
    ),
    "training.planning.lr_range_test": ("proposal",),
    "training.planning.sizes": ("resolve_architecture",),
    "training.run.bidirectional": ("directory_of_run",),
    "training.run.create": ("minutes_to_learn",),
    "training.run.following": ("follow",),
    "training.run.learning_rates": ("try_learning_rates",),
    "training.run.networks": ("networks",),
    "training.run.request": ("make_request",),
    "training.run.session": ("run",),
}
_MODULES = {name: f"charnn.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import what defines a name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_MODULES[name]), name)
    return found
