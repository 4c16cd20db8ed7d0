"""Functions of the Python API: load, train, compare and interpolate models."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from charnn import notebook
from charnn.analysis.comparison import Difference, compare_files
from charnn.config import ComparisonOptions
from charnn.config.arguments import TrainArguments
from charnn.errors import ModelError, OptionError
from charnn.interrupts import deferred_interrupts
from charnn.language_model import LanguageModel, speaking_of_arguments
from charnn.options import with_tuples
from charnn.recipes import load_recipe
from charnn.scoring.build import check_alike
from charnn.storage.model_directory import find_model, read_model, with_backward_half

if TYPE_CHECKING:
    from charnn.training.events import Event, StopReason
    from charnn.training.run.session import Session


@speaking_of_arguments
def load(path: str | Path | None = None) -> LanguageModel:
    """Read a trained model; a bidirectional one with both its networks.

    Loading a model never runs code that it names: a model with a custom cell requires that cell to be registered first
    (`register_cell`).

    Args:
        path: its directory; the newest under `runs/` where it is None.

    Raises:
        ModelError: where there is none, or it is damaged or of another version.

    Example:
        >>> model = charnn.load("runs/book")
    """
    return LanguageModel(with_backward_half(read_model(find_model(None if path is None else str(path)))))


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
    """Train a model on text, and return it.

    What is worth knowing goes to the logger `charnn`, and in a notebook a bar shows how far training has come. Ctrl-C ends
    training after the step under way: what was learned is saved, and `resume=True` goes on from there.

    Args:
        texts: files, directories, globs and .gz files.
        output: the model's directory; `runs/` and the name of the first text where it is None.
        overwrite: replace a model that lies there.
        resume: go on with a run where it stopped; texts are not needed.
        recipe: the name of published settings, or of a .toml file; other options override them.
        on_event: called with each event (see `charnn.training.events`): progress, evaluations, the end.
        should_stop: asked after each step whether to end now.
        options: those of `charnn train`, by the names of `charnn.config.TextOptions`, `ModelOptions` and `TrainingOptions`.

    Raises:
        CharnnError: for anything wrong with what was given; nothing is lost then.
        KeyboardInterrupt: once the state is saved.

    Example:
        >>> model = charnn.train("book.txt", minutes=2, output="runs/book")
    """
    from charnn.training.run.networks import default_directory, make_request, networks  # loads torch

    names = [str(texts)] if isinstance(texts, (str, Path)) else [str(text) for text in texts]
    if not names and not resume:
        raise OptionError("texts: found none; name the text to learn from: charnn.train('book.txt')")
    of_text = default_directory(names[0]) if names else None
    directory = Path(output) if output is not None else of_text or find_model(None)
    request = make_request(
        directory,
        names,
        with_tuples(options, TrainArguments.__annotations__),
        recipe=None if recipe is None else load_recipe(str(recipe)),
        overwrite=overwrite,
        resume=resume,
    )
    with closing(networks(request, started=time.monotonic())) as sessions:
        for session in sessions:
            if _train_network(session, on_event, should_stop) == "interrupted":
                break
    return load(directory)


def _train_network(
    session: "Session", on_event: Callable[["Event"], object] | None, should_stop: Callable[[], bool] | None
) -> "StopReason | None":
    """Train one network to its end, and return what that was. Raises KeyboardInterrupt after Ctrl-C."""
    from charnn.training.run.session import run  # loads torch

    bar, reason = notebook.ProgressBar(), None
    with deferred_interrupts() as interruption:

        def must_stop() -> bool:
            return interruption() is not None or (should_stop is not None and should_stop())

        with closing(run(session, should_stop=must_stop)) as events:
            for event in events:
                reason = getattr(event, "reason", None)
                bar.show(getattr(event, "progress", None), getattr(event, "loss_nats", None))
                if on_event is not None:
                    on_event(event)
        if interruption() is not None:
            raise KeyboardInterrupt
    return reason


@speaking_of_arguments
def compare(
    first: LanguageModel,
    second: LanguageModel,
    texts: str | Path | Sequence[str | Path],
    *,
    state: Literal["reset", "carry"] | None = None,
    mix_ngram: bool = False,
    spell: bool = False,
    resamples: int = 2000,
    seed: int = 1,
    tolerance: float = 1.0,
    encoding: str = "utf-8",
) -> Difference:
    """Return by how much two models differ on the lines of a text, in bits per character, and whether it may be chance.

    Args:
        texts: files that neither was trained on.
        state: read each line from the initial state, or carry the hidden state; carry for models of running text where it is
            None.
        mix_ngram: interpolate each with its n-gram model.
        spell: give unknown tokens the probability of their spelling too.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        tolerance: the smallest difference, in percent, that is reported as one.
        encoding: of the files.

    Example:
        >>> charnn.compare(charnn.load("runs/a"), charnn.load("runs/b"), "test.txt").is_clear
    """
    options = ComparisonOptions(
        state=state,
        mix_ngram=mix_ngram,
        spell=spell,
        resamples=resamples,
        seed=seed,
        tolerance=tolerance,
        top=0,
        encoding=encoding,
    )
    files = [str(texts)] if isinstance(texts, (str, Path)) else [str(text) for text in texts]
    found = compare_files([first._only("comparison"), second._only("comparison")], files, options)
    return found.difference(num_resamples=options.resamples, seed=options.seed, tolerance=options.tolerance / 100)


@speaking_of_arguments
def interpolate(models: Sequence[LanguageModel], weights: Sequence[float] | None = None) -> LanguageModel:
    """Return a model whose probabilities are the weighted mean of several models' with one vocabulary, for scoring.

    Args:
        weights: one for each model, which are scaled to sum to 1; equal ones where it is None.

    Example:
        >>> charnn.interpolate([charnn.load("runs/a"), charnn.load("runs/b")], weights=[2, 1]).score("The fox slept.")
    """
    parts = [model._only("interpolation") for model in models]
    if len(parts) < 2:
        raise ModelError(f"models: found {len(parts)}; give two or more to interpolate")
    check_alike(parts)
    given = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(parts):
        raise OptionError(f"weights: found {len(given)} for {len(parts)} models; give one for each, in their order")
    return LanguageModel(parts, [weight / sum(given) for weight in given])
