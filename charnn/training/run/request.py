"""A request to start or resume a run, with all options checked. Loads no torch, so that wrong usage is reported at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.config.compatibility import check_compatibility, merge_recipe
from charnn.errors import StorageError
from charnn.files import WORKING_DIRECTORY_IS_GONE, has_working_directory
from charnn.launch import launch
from charnn.notices import notice_logger
from charnn.options import OptionValues, checked_text, pick, refuse_both
from charnn.recipes import Recipe
from charnn.storage.model_directory import is_model, read_config
from charnn.training.run.bidirectional import half_of_budget, with_default_budget
from charnn.training.run.event_files import check_installed
from charnn.training.run.parent import options_of_parent

logger = notice_logger(__name__)


@dataclass(frozen=True)
class RunRequest:
    """A run to start or resume; see `make_request`.

    Args:
        directory: of the run.
        texts: files to train on (see `find_sources`).
        overrides: options that the user gave, by field name.
        text_options, model_options, training_options: all options; for a bidirectional model, those of each network.
        recipe: source of the options that the user did not give.
        overwrite: replace an existing model.
        resume: resume the run from its last checkpoint.
        is_restart: whether the job that started the run was restarted, so that it is resumed.
    """

    directory: Path
    texts: Sequence[str]
    overrides: OptionValues
    text_options: TextOptions
    model_options: ModelOptions
    training_options: TrainingOptions
    recipe: Recipe | None = None
    overwrite: bool = False
    resume: bool = False
    is_restart: bool = False


def make_request(
    directory: Path,
    texts: Sequence[str],
    overrides: OptionValues,
    *,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> RunRequest:
    """Return a request to start or resume a run.

    Args:
        directory: of the run.
        texts: files to train on (see `find_sources`).
        overrides: options by field name; the others come from the recipe or are the defaults.
        recipe: published settings to start from.
        overwrite: replace an existing model.
        resume: resume the run from its last checkpoint.

    Raises:
        OptionError: for options that are out of bounds or incompatible.
        StorageError: if the working directory no longer exists.
    """
    refuse_both("--resume", resume and overwrite, "--overwrite")
    refuse_both("--recipe", resume and recipe is not None, "--resume (a run keeps its options)")
    refuse_both(
        "--recipe",
        recipe is not None and overrides.get("init_from") is not None,
        "--init-from (it keeps the options of the model)",
    )
    if not has_working_directory():
        raise StorageError(WORKING_DIRECTORY_IS_GONE)  # torch would abort the process
    is_restart = not resume and _was_started_by_this_job(directory)
    if is_restart:
        resume, overwrite, recipe = True, False, None
    options = overrides
    if recipe is not None:
        options, left_out = merge_recipe(recipe.options, overrides)
        if left_out:
            logger.info(
                f"recipe {recipe.name}: left out {', '.join(left_out)}, which have no effect with the options given"
            )
    parent = options.get("init_from") if not resume else None
    if parent is None:
        text_options, model_options = pick(TextOptions, options), pick(ModelOptions, options)
    else:
        text_options, model_options = options_of_parent(directory, Path(checked_text(parent, "--init-from")), options)
    if model_options.direction == "both" and not resume:
        options = half_of_budget(with_default_budget(options))
    training_options = pick(TrainingOptions, options)
    check_installed(training_options.log)
    if not resume:
        check_compatibility(text_options, model_options, training_options)
    return RunRequest(
        directory,
        texts,
        overrides,
        text_options,
        model_options,
        training_options,
        recipe,
        overwrite,
        resume,
        is_restart,
    )


def _was_started_by_this_job(directory: Path) -> bool:
    """Return whether a run was started by the job that this process belongs to, before torchrun restarted it."""
    place = launch()
    return bool(place and place.restarts and is_model(directory) and read_config(directory).plan.job == place.job)
