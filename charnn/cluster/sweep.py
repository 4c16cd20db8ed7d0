"""Training runs over settings and seeds, one at a time or side by side, and their mean validation losses."""

import importlib
import inspect
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Unpack

from charnn.cells.parameters import expected_shapes
from charnn.cluster.plan import shown_option
from charnn.cluster.results import SweepResult
from charnn.cluster.settings import Setting, check_fixed, combinations
from charnn.config.arguments import TrainArguments
from charnn.cores import available_cores
from charnn.errors import OptionError, StorageError, TextError, speaking_of_arguments
from charnn.files import JsonObject, json_bytes, make_directory, write_output
from charnn.library import train
from charnn.notices import notice_logger
from charnn.options import OptionValues, checked_files, shown, with_tuples
from charnn.recipes import load_recipe
from charnn.storage.model_directory import is_model, read_config
from charnn.storage.run_config import RunConfig
from charnn.text.sources import Source, check_exist, empty_text_error, find_sources
from charnn.training.run.request import make_request

logger = notice_logger(__name__)

FORMAT_VERSION = 1
SWEEP_FILE = "sweep.json"
_train = inspect.unwrap(train)  # its errors name flags, as those of a command do
MOST_SEEDS = 1000


class SweepRun(NamedTuple):
    """A run of a sweep, as a worker gets it: all paths are absolute.

    Args:
        setting: its setting.
        seed: its seed.
        directory: of the run.
        texts: to train on.
        options: all options but the seed.
        recipe: name of a recipe, or the path of a file.
        cpus: cores that it may use; None for all.
    """

    setting: Setting
    seed: int
    directory: Path
    texts: tuple[str, ...]
    options: OptionValues
    recipe: str | None
    cpus: int | None

    def __str__(self) -> str:
        return f"{self.setting}, seed {self.seed}"


class RunEnd(NamedTuple):
    """A finished run.

    Args:
        run: the run.
        number: how many are finished.
        num_runs: how many there are in all.
        loss_nats: best validation loss, in nats per token.
        seconds: that training took.
    """

    run: SweepRun
    number: int
    num_runs: int
    loss_nats: float
    seconds: float


@speaking_of_arguments
def sweep(
    texts: str | Path | Sequence[str | Path],
    options: Mapping[str, Sequence[object]],
    *,
    output: str | Path,
    seeds: int = 1,
    ray: str | None = None,
    recipe: str | Path | None = None,
    on_run: Callable[[RunEnd], object] | None = None,
    **fixed: Unpack[TrainArguments],
) -> list[SweepResult]:
    """Train with every combination of some values of some options, and return the mean validation losses.

    Finished runs are not done again, and interrupted ones are resumed from their last checkpoint, if the sweep is called again.

    Args:
        texts: files to train on, as for `train`.
        options: values to try, by the name of the option.
        output: directory of the runs.
        seeds: number of runs of each setting; their seeds count up from `seed`.
        ray: train side by side on Ray: "local" for this machine, or the address of a cluster. By default one run at a time.
        recipe: name of a recipe, or of a .toml file.
        on_run: called when a run is finished.
        fixed: options of all runs, named as for `train`.

    Returns:
        One result per setting, in the order of the combinations.

    Raises:
        CharnnError: for an option that does not exist or does not fit, before the first run.
        KeyboardInterrupt: after Ctrl-C.

    Example:
        >>> results = charnn.sweep("book.txt", {"hidden_size": [8, 16]}, output="runs/sizes", seeds=2, steps=2)
        >>> [(result.setting, result.mean_nats) for result in results]
    """
    values = with_tuples(fixed, TrainArguments.__annotations__)
    runs = planned_runs(checked_files(texts, "texts"), options, values, output=output, seeds=seeds, recipe=recipe)
    for ended in ended_runs(runs, ray=ray):
        if on_run is not None:
            on_run(ended)
    return results_of(runs)


def ended_runs(runs: Sequence[SweepRun], *, ray: str | None) -> Iterator[RunEnd]:
    """Do the runs that are not finished, one at a time or on Ray, and yield the end of each.

    Args:
        ray: address of a cluster, "local" or ""; None for one run at a time.
    """
    if ray is None:
        return run_one_by_one(runs)
    run_on_ray = importlib.import_module("charnn.cluster.ray_sweep").run_on_ray  # needs the extra
    ends: Iterator[RunEnd] = run_on_ray(runs, address=ray or None)
    return ends


def planned_runs(
    texts: Sequence[str],
    options: Mapping[str, Sequence[object]],
    fixed: OptionValues,
    *,
    output: str | Path,
    seeds: int,
    recipe: str | Path | None = None,
) -> list[SweepRun]:
    """Return the runs of a sweep, all of whose options are checked.

    Raises:
        CharnnError: for the first that does not fit; then nothing is written.
    """
    if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= MOST_SEEDS:
        raise OptionError(f"--seeds: found {shown(seeds)}, but it must be an integer from 1 to {MOST_SEEDS:,}")
    (named,) = checked_files(output, "output")
    directory = Path(named)
    settings = combinations(options)
    check_fixed(options, fixed)
    loaded = None if recipe is None else load_recipe(str(recipe))
    sources = _sources(texts, options, fixed)
    names = tuple(str(source.path.absolute()) for source in sources if source.path is not None)
    shared = dict(fixed)
    first = int(shared.pop("seed", 1))  # type: ignore[call-overload]
    runs = []
    for setting in settings:
        merged = with_absolute_paths({**shared, **setting.options})
        for seed in range(first, first + seeds):
            path = (directory / setting.name_with(seed)).absolute()
            make_request(path, names, {**merged, "seed": seed}, recipe=loaded)
            runs.append(SweepRun(setting, seed, path, names, merged, _recipe_for_workers(recipe), None))
    if len({run.directory for run in runs}) < len(runs):
        raise OptionError("--option: found two values that give one name of a directory; leave one of them out")
    _begin(directory, sources, shared, recipe)
    return runs


def _recipe_for_workers(recipe: str | Path | None) -> str | None:
    """Return the name of a recipe, or the absolute path of its file."""
    is_file = recipe is not None and str(recipe).endswith(".toml")
    return str(Path(str(recipe)).absolute()) if is_file else None if recipe is None else str(recipe)


def _sources(texts: Sequence[str], options: Mapping[str, Sequence[object]], fixed: OptionValues) -> list[Source]:
    """Return the texts of all runs. Raises TextError for one that is missing, or cannot be read again for each run."""
    held_out = [str(valid) for valid in (*options.get("valid", ()), fixed.get("valid")) if valid is not None]
    check_exist([*texts, *held_out])
    sources = find_sources(texts)
    both = [sources, find_sources(held_out)]
    if once := [source.name for source in chain(*both) if source.stamp is None]:
        raise TextError(
            f"{once[0]}: can be read only once, but every run of a sweep reads it; write it to a file first"
        )
    for found in both:
        if found and not any(source.stored_bytes for source in found):
            raise empty_text_error([source.name for source in found], "there is nothing to learn from")
    if not sources:
        raise OptionError("TEXT: found none; name the text to train on: charnn sweep book.txt")
    return sources


def with_absolute_paths(options: OptionValues) -> OptionValues:
    """Return options in which the held-out text is named so that processes with other working directories find it."""
    valid = options.get("valid")
    return options if valid is None else {**options, "valid": str(Path(str(valid)).absolute())}


def _begin(directory: Path, sources: Sequence[Source], options: OptionValues, recipe: str | Path | None) -> None:
    """Write down what all runs of a directory have in common, or check that it is that.

    Raises:
        StorageError: if the directory was begun as another sweep, or cannot be written.
    """
    stamps = [(source.name, source.stamp) for source in sources]
    common = {
        "format_version": FORMAT_VERSION,
        "texts": [
            {"name": name, "num_bytes": stamp.num_bytes, "changed_ns": stamp.changed_ns} if stamp else {"name": name}
            for name, stamp in stamps
        ],
        "options": {name: value for name, value in options.items() if name != "threads"},
        "recipe": None if recipe is None else str(recipe),
    }
    file, content = directory / SWEEP_FILE, json_bytes(common)
    has_runs = directory.is_dir() and any(path.name != SWEEP_FILE for path in directory.iterdir())
    if file.exists() and has_runs:
        before = file.read_bytes()
        if before != content:
            raise StorageError(
                f"{directory}: was begun with {_difference(before, common)}; name another directory with -o"
            )
        return
    if has_runs or (directory.exists() and not directory.is_dir()):
        raise StorageError(f"{directory}: exists and is no sweep; name another directory with -o")
    make_directory(directory)
    write_output(file, content)


def _difference(content: bytes, common: JsonObject) -> str:
    """Return what a sweep had that is not wanted now, for a message."""
    try:
        before = json.loads(content.decode("utf-8"))
        options, now = before["options"], json.loads(json.dumps(common["options"]))
    except (ValueError, KeyError, TypeError):
        return f"options that are unknown, since {SWEEP_FILE} is damaged"
    for name in {**options, **now}:
        if options.get(name) != now.get(name):
            return f"{shown_option(name, options)}, but this command has {shown_option(name, now)}"
    if before.get("recipe") != common["recipe"]:
        return f"recipe {before.get('recipe')}, not {common['recipe']}"
    return "other texts, or texts that have changed since"


def finished_config(run: SweepRun) -> RunConfig | None:
    """Return the configuration of a run with its results; None if it is not finished."""
    if not is_model(run.directory):
        return None
    config = read_config(run.directory)
    return config if config.results.is_finished and config.results.valid_loss_nats is not None else None


def run_one_by_one(runs: Sequence[SweepRun]) -> Iterator[RunEnd]:
    """Do the runs that are not finished, and yield the end of each."""
    unfinished = [run for run in runs if finished_config(run) is None]
    for number, run in enumerate(unfinished, start=len(runs) - len(unfinished) + 1):
        seconds = do_run(run)
        yield end_of(run, number, len(runs), seconds)


def do_run(run: SweepRun) -> float:
    """Train a run, or go on with it; return the seconds that this took."""
    began = time.monotonic()
    if finished_config(run) is None:
        if (run.directory / "training.json").exists():
            _train(output=run.directory, resume=True, **_threads(run))
        else:
            options = {**run.options, **_threads(run)}
            _train(
                run.texts,
                output=run.directory,
                overwrite=is_model(run.directory),
                recipe=run.recipe,
                seed=run.seed,
                **options,
            )
    return time.monotonic() - began


def _threads(run: SweepRun) -> TrainArguments:
    return {} if run.cpus is None else {"threads": run.cpus}


def end_of(run: SweepRun, number: int, num_runs: int, seconds: float) -> RunEnd:
    """Return the end of a finished run. Raises StorageError if its results are missing."""
    config = finished_config(run)
    if config is None or config.results.valid_loss_nats is None:
        raise StorageError(
            f"{run.directory}: has no validation loss; a sweep needs a text with a held-out part, and runs that are finished"
        )
    return RunEnd(run, number, num_runs, config.results.valid_loss_nats, seconds)


def results_of(runs: Sequence[SweepRun]) -> list[SweepResult]:
    """Return the results of finished runs, by setting."""
    results = []
    for setting in dict.fromkeys(run.setting.name_with(0) for run in runs):
        of_setting = [run for run in runs if run.setting.name_with(0) == setting]
        configs = [config for run in of_setting if (config := finished_config(run)) is not None]
        shapes = expected_shapes(configs[0].architecture).values()
        results.append(
            SweepResult(
                setting=dict(of_setting[0].setting.options),
                losses_nats=tuple(config.results.valid_loss_nats or 0.0 for config in configs),
                num_parameters=sum(math.prod(shape) for shape in shapes),
                seconds=statistics.fmean(config.results.seconds for config in configs),
                cpus=configs[0].asked.training.threads or available_cores(),
            )
        )
    return results


def with_cpus(runs: Sequence[SweepRun], cpus: int) -> list[SweepRun]:
    """Return runs that have this number of cores each, unless their options say another one."""
    return [run._replace(cpus=int(str(run.options.get("threads") or cpus))) for run in runs]
