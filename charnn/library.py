"""Functions of the Python API: load, train, compare and interpolate models."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack, get_args

from charnn import notebook
from charnn.analysis.comparison import Difference, compare_files
from charnn.analysis.inspections import inspect_models
from charnn.config import ComparisonOptions, InspectOptions
from charnn.config.arguments import InspectArguments, TrainArguments
from charnn.config.insight import Inspected, check_used
from charnn.config.text import Unit
from charnn.errors import ModelError, OptionError, speaking_of_arguments
from charnn.interrupts import Interrupted, deferred_interrupts
from charnn.language_model import LanguageModel
from charnn.launch import is_follower
from charnn.options import checked_files, pick, shown, with_tuples
from charnn.recipes import load_recipe
from charnn.sampling.build import short_sample
from charnn.scoring.build import check_compatible
from charnn.storage.model_directory import find_model, read_model, report_untrained, with_backward_half
from charnn.storage.new_directory import check_available, default_directory
from charnn.text.sources import check_exist
from charnn.training.run.request import make_request

if TYPE_CHECKING:
    from charnn.analysis.tables import Inspection
    from charnn.training.events import Event, StopReason
    from charnn.training.run.session import Session


@speaking_of_arguments
def load(path: str | Path | None = None) -> LanguageModel:
    """Load a trained model; for a bidirectional model, both networks.

    Loading a model never executes code from it: if the model has a custom cell, register the cell first (`register_cell`).

    Args:
        path: the model directory; by default, the newest under `runs/`.

    Raises:
        ModelError: if there is no model, or it is damaged or has an unsupported format version.

    Example:
        >>> model = charnn.load("runs/book")
    """
    (name,) = checked_files(path, "path") if path is not None else [None]
    models = with_backward_half(read_model(find_model(name)))
    report_untrained(models)
    return LanguageModel(models)


@speaking_of_arguments
def train(
    texts: str | Path | Sequence[str | Path] = (),
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    recipe: str | Path | None = None,
    on_event: Callable[["Event"], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
    **options: Unpack[TrainArguments],
) -> LanguageModel:
    """Train a model on text and return it.

    Messages go to the logger `charnn`, and a notebook shows a progress bar. Ctrl-C stops training after the current step and
    saves a checkpoint; `resume=True` continues from it.

    Args:
        texts: files, directories, globs and .gz files.
        output: the model directory; by default, `runs/NAME`, where NAME is derived from the first text.
        overwrite: replace an existing model.
        resume: resume a run from its last checkpoint; texts are not needed.
        recipe: name of a recipe, or of a .toml file; other options override it.
        on_event: called with each event (see `charnn.training.events`): progress, evaluations, the end of training.
        should_stop: called after each step; training stops when it returns True.
        options: options of `charnn train`, named as in `charnn.config.TextOptions`, `ModelOptions` and `TrainingOptions`.

    Raises:
        CharnnError: for invalid arguments or texts; an existing model is then unchanged.
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is saved.

    Example:
        >>> model = charnn.train("book.txt", minutes=2, output="runs/book")
    """
    names = checked_files(texts, "texts")
    if not names and not resume:
        raise OptionError("texts: found none; name the text to train on: charnn.train('book.txt')")
    of_text = default_directory(names[0]) if names else None
    (named,) = checked_files(output, "output") if output is not None else [None]
    directory = Path(named) if named is not None else of_text or find_model(None)
    values = with_tuples(options, TrainArguments.__annotations__)
    if isinstance(values.get("init_from"), Path):
        values["init_from"] = str(values["init_from"])
    request = make_request(
        directory,
        names,
        values,
        recipe=None if recipe is None else load_recipe(str(recipe)),
        overwrite=overwrite,
        resume=resume,
    )
    if not request.resume and not is_follower():
        valid = request.text_options.valid
        check_exist([*names, valid] if valid else names)
        check_available(directory, overwrite=overwrite)
    from charnn.training.run import following, networks  # loads torch

    if is_follower():
        _train_following(following.follow, should_stop)
        return load(directory)
    with closing(networks.networks(request, started=time.monotonic())) as sessions:
        for session in sessions:
            if _train_network(session, on_event, should_stop) == "interrupted":
                break
    return load(directory)


def _train_following(follow: Callable[[Callable[[], bool]], None], should_stop: Callable[[], bool] | None) -> None:
    """Take part in a training that another process leads. Raises KeyboardInterrupt after Ctrl-C."""
    with deferred_interrupts() as interruption:
        follow(lambda: interruption() is not None or (should_stop is not None and should_stop()))
        if (number := interruption()) is not None:
            raise Interrupted(number)


def _train_network(
    session: "Session", on_event: Callable[["Event"], object] | None, should_stop: Callable[[], bool] | None
) -> "StopReason | None":
    """Train one network, and return why training stopped. Raises KeyboardInterrupt after Ctrl-C."""
    from charnn.training.run.session import run  # loads torch

    bar, reason = notebook.ProgressBar(), None
    with deferred_interrupts() as interruption:

        def must_stop() -> bool:
            return interruption() is not None or (should_stop is not None and should_stop())

        with closing(run(session, should_stop=must_stop, write_sample=short_sample)) as events:
            for event in events:
                reason = getattr(event, "reason", None)
                bar.show(getattr(event, "progress", None), getattr(event, "loss_nats", None))
                if on_event is not None:
                    on_event(event)
        if (number := interruption()) is not None:
            raise Interrupted(number)
    return reason


@speaking_of_arguments
def compare(
    first: LanguageModel,
    second: LanguageModel,
    texts: str | Path | Sequence[str | Path],
    *,
    unit: Unit = "line",
    state: Literal["reset", "carry"] = "reset",
    mix_ngram: bool = False,
    spell: bool = False,
    resamples: int = 2000,
    seed: int = 1,
    tolerance: float = 1.0,
    encoding: str = "utf-8",
) -> Difference:
    """Return the difference between two models on a text, in bits per character, and its significance.

    Args:
        texts: files that neither model was trained on.
        unit: what is compared: lines, documents (between blank lines), tunes (ABC), or one running text ("stream").
        state: start each unit from the initial state ("reset"), or carry the hidden state over ("carry").
        mix_ngram: interpolate each model with its n-gram model.
        spell: multiply the probability of <unk> by the probability of the spelling.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
        tolerance: smallest relative difference, in percent, that is reported as a difference.
        encoding: encoding of the files.

    Example:
        >>> charnn.compare(charnn.load("runs/a"), charnn.load("runs/b"), "test.txt").is_clear
    """
    options = ComparisonOptions(
        unit=unit,
        state=state,
        mix_ngram=mix_ngram,
        spell=spell,
        resamples=resamples,
        seed=seed,
        tolerance=tolerance,
        top=0,
        encoding=encoding,
    )
    files = checked_files(texts, "texts")
    models = [_loaded(model, name).group.single("comparison") for model, name in ((first, "first"), (second, "second"))]
    comparison = compare_files(models, files, options)
    return comparison.difference(num_resamples=options.resamples, seed=options.seed, tolerance=options.tolerance / 100)


@speaking_of_arguments
def interpolate(models: Sequence[LanguageModel], weights: Sequence[float] | None = None) -> LanguageModel:
    """Return a model for scoring whose probabilities are the weighted mean of the probabilities of several models.

    Args:
        models: models with the same vocabulary and direction.
        weights: one weight per model, normalized to sum to 1; by default, equal weights.

    Example:
        >>> charnn.interpolate([charnn.load("runs/a"), charnn.load("runs/b")], weights=[2, 1]).score("The fox slept.")
    """
    if not isinstance(models, Iterable):
        raise OptionError(f"models: found {shown(models)}, but it must be a list of models")
    parts = [_loaded(model, "models").group.single("interpolation") for model in models]
    if len(parts) < 2:
        raise ModelError(f"models: found {len(parts)}, but interpolation requires at least two")
    check_compatible(parts)
    relative = [1.0] * len(parts) if weights is None else _numbers(weights, "weights")
    if len(relative) != len(parts):
        raise OptionError(
            f"weights: found {len(relative)} for {len(parts)} models; give one weight per model, in the same order"
        )
    if wrong := [weight for weight in relative if not 0 < weight < math.inf]:
        raise OptionError(f"weights: found {wrong[0]:g}, but each must be above 0 and finite")
    return LanguageModel(parts, [weight / sum(relative) for weight in relative])


def _numbers(values: object, name: str) -> list[float]:
    """Return an argument that must be a list, or another iterable, of numbers. Raises OptionError."""
    try:
        return [float(value) for value in values]  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{name}: found {shown(values)}, but it must be a list of numbers") from None


def _loaded(model: object, name: str) -> LanguageModel:
    """Return a model that was loaded. Raises OptionError for anything else, such as its path."""
    if not isinstance(model, LanguageModel):
        raise OptionError(f"{name}: found {shown(model)}, but it must be a model; load it with charnn.load")
    return model


@speaking_of_arguments
def inspect(what: Inspected, *models: str | Path | LanguageModel, **options: Unpack[InspectArguments]) -> "Inspection":
    """Look inside networks, as `charnn inspect` does.

    Args:
        what: gradients, neurons, embeddings, states, memory, dropout, unrolled or attention.
        models: model directories, or loaded models; by default, the newest under `runs/`.
        options: those of `charnn inspect`, such as `text=["The cat was", "The cats were"]`; one text needs no list.

    Returns:
        The arrays that were computed, as fields; its method `tables()` returns the figures that the command shows.

    Raises:
        OptionError: for an unknown inspection, or an option that is out of range.
        ModelError: if there is no model, or it has no held-out text to read and none is named.

    Example:
        >>> found = charnn.inspect("embeddings", "runs/book")
        >>> found.tables()[0].rows[0]
    """
    if what not in (known := get_args(Inspected)):
        raise OptionError(f"what: found {shown(what)}, but it must be one of {', '.join(known)}")
    options |= {
        name: (value,) for name, value in options.items() if name in ("text", "pattern") and isinstance(value, str)
    }  # type: ignore[typeddict-item]
    checked = pick(InspectOptions, with_tuples(options, InspectArguments.__annotations__))
    check_used(checked, [what])
    paths = [
        model.path if isinstance(model, LanguageModel) else Path(checked_files(model, "models")[0]) for model in models
    ]
    return inspect_models(what, paths or [find_model(None)], checked)
