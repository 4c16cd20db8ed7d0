"""An overview of trained models: what they learned, how well, and where they differ; what `charnn report` shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charnn.analysis.baselines import NETWORK, Predictor, predictors
from charnn.analysis.comparison import Comparison, Difference, TokenDifference, have_same_vocabulary
from charnn.analysis.curves import Curves, read_curves
from charnn.analysis.memorization import Memorization, measure_memorization
from charnn.analysis.subjects import refuse_repeated
from charnn.analysis.surprisals import Surprisals, divided, read_surprisals, text_to_read
from charnn.analysis.tables import Table, Value
from charnn.cells.parameters import parameter_counts
from charnn.config import ReportOptions, SampleOptions, ScoreOptions
from charnn.inference.build import build_stepper
from charnn.notices import notice_logger
from charnn.sampling.build import Prompts, build_sampler, finished_samples, sample_requests
from charnn.sampling.streams import Sample
from charnn.scoring.build import build_scorer
from charnn.storage.model_directory import Model, is_model, read_model, report_untrained
from charnn.storage.run_files import BACKWARD, StoredFile, stored_files
from charnn.text.corpus import open_ids
from charnn.text.sources import display_name
from charnn.text.tokenizers import decode

logger = notice_logger(__name__)

MAX_TOKENS = 20_000
"""Tokens of the held-out text that are read."""
NUM_SAMPLES, SAMPLE_LENGTH = 4, 400
"""Samples in which copies from the training text are looked for, and their length in tokens."""
NUM_DIFFERENCES = 15
RESAMPLES, TOLERANCE = 1000, 0.01


@dataclass(frozen=True)
class CopiedSample:
    """A sample and what it copies from the training text.

    Args:
        text: the sample.
        span: the longest span that occurs in the training text.
        memorization: how much of the sample occurs there.
    """

    text: str
    span: str
    memorization: Memorization


@dataclass(frozen=True)
class RunOverview:
    """What is known of one model.

    Args:
        name: the model's directory as it was given.
        model: the model; of a bidirectional model, the forward half.
        curves: of training.
        predictors: the network beside simpler models, on the held-out text.
        surprisals: of the text that is read; None if there is none.
        samples: what the model writes, and what of it is copied; empty for a backward model and without a training text.
        files: of the model directory.
    """

    name: str
    model: Model
    curves: Curves
    predictors: Sequence[Predictor]
    surprisals: Surprisals | None
    samples: Sequence[CopiedSample]
    files: Sequence[StoredFile]

    @property
    def num_parameters(self) -> int:
        """The number of parameters."""
        return sum(parameter_counts(self.model.architecture))


@dataclass(frozen=True)
class RunComparison:
    """Two models on the same text.

    Args:
        first, second: their names.
        difference: in bits per character, with its significance.
        num_unknown: unknown tokens of both.
        better, worse: the tokens that the second predicts better and worse by most, or words if the vocabularies differ.
    """

    first: str
    second: str
    difference: Difference
    num_unknown: int
    better: Sequence[TokenDifference]
    worse: Sequence[TokenDifference]


@dataclass(frozen=True)
class Overview:
    """What is known of some models.

    Args:
        runs: the models.
        origin: what the text is that they all read: "held-out text", or a file.
        is_shared: whether all of them were trained on the same files, so that the held-out text is new to all.
        comparisons: the first model with each other one.
    """

    runs: Sequence[RunOverview]
    origin: str
    is_shared: bool
    comparisons: Sequence[RunComparison]

    def tables(self) -> Sequence[Table]:
        """Return the figures in which the models can be compared."""
        return [results_table(self.runs), options_table(self.runs), losses_table(self.runs)]


def read_overview(paths: Sequence[Path], options: ReportOptions) -> Overview:
    """Read models and measure them.

    Args:
        paths: model directories.

    Raises:
        CharnnError: if a directory is no model, or the file that is to be read has no token.

    Example:
        >>> charnn.api.read_overview([model.path], ReportOptions()).runs[0].curves.best
    """
    refuse_repeated(paths)
    models = [read_model(path) for path in paths]
    report_untrained(models)
    for model in models:
        if is_model(model.path / BACKWARD):
            logger.info(f"{model.path}: is a bidirectional model, of which the forward half is reported")
    valid = models[0].path / "valid.bin"
    has_text = options.file is not None or (valid.exists() and valid.stat().st_size > 0)
    if not has_text:
        logger.info(
            f"{models[0].path}: has no held-out text to read; to see where its loss is, name a text with --file"
        )
    text = text_to_read(models[0], options.file, MAX_TOKENS, encoding=options.encoding) if has_text else ""
    runs = [_read_run(model, text, options) for model in models]
    return Overview(
        runs,
        "held-out text" if options.file is None else display_name(options.file),
        len({tuple(file.sha256 for file in model.config.corpus.files) for model in models}) == 1,
        [_compare(models[0], other, text, options) for other in models[1:] if text],
    )


def _read_run(model: Model, text: str, options: ReportOptions) -> RunOverview:
    return RunOverview(
        str(model.path),
        model,
        read_curves(model.path),
        predictors(model),
        read_surprisals(model, text, passage_length=options.passage) if text else None,
        _samples(model, options.seed),
        stored_files(model.path),
    )


def _samples(model: Model, seed: int) -> list[CopiedSample]:
    """Return samples and what they copy; none if they cannot be drawn or compared."""
    files = [model.path / "train.bin", model.path / "valid.bin"]
    if model.architecture.direction == "backward" or not all(file.exists() for file in files):
        return []
    training, held_out = (open_ids(file, model.tokenizer) for file in files)
    drawn = _draw(model, seed)
    newline_id = model.tokenizer.vocabulary.ids.get("\n")
    found = measure_memorization([sample.ids for sample in drawn], training, held_out, newline_id=newline_id)
    return [
        CopiedSample(
            sample.text,
            decode(model.tokenizer, sample.ids[each.copied.start : each.copied.start + each.copied.length]),
            each,
        )
        for sample, each in zip(drawn, found, strict=True)
    ]


def _draw(model: Model, seed: int) -> list[Sample]:
    """Return samples as `charnn sample -t 0.8` draws them."""
    options = SampleOptions(length=SAMPLE_LENGTH, temperature=0.8, seed=seed, num_samples=NUM_SAMPLES)
    stepper = build_stepper(model, weights=options.weights, device=options.device)
    requests = sample_requests(Prompts(model, stepper, [""], options), options, seed)
    return [sample for sample in finished_samples(build_sampler(model, stepper, options), requests) if sample.ids]


def _compare(first: Model, second: Model, text: str, options: ReportOptions) -> RunComparison:
    """Compare two models on a text, which both read as the first was trained to."""
    unit = first.tokenizer.unit
    units = list(divided(text, first.tokenizer))
    if "backward" in (first.architecture.direction, second.architecture.direction) and unit == "stream":
        units = [text]  # a backward model reads a running text whole
    score_options = ScoreOptions(unit=unit)
    comparison = Comparison(
        same_vocabulary=have_same_vocabulary([first, second]),
        are_independent=unit != "stream",
        num_differences=NUM_DIFFERENCES,
        divides=unit == "stream",
    )
    scores = [
        build_scorer([model], score_options).scores(units, score_options, with_tokens=True) for model in (first, second)
    ]
    for one, other in zip(*scores, strict=True):
        comparison.take(one, other, closes=(score_options.closes, score_options.closes))
    difference = comparison.difference(num_resamples=RESAMPLES, seed=options.seed, tolerance=TOLERANCE)
    num_unknown = sum(total.num_unknown for total in comparison.totals)
    return RunComparison(str(first.path), str(second.path), difference, num_unknown, *comparison.largest_differences())


def results_table(runs: Sequence[RunOverview]) -> Table:
    """Return the results of each run."""
    rows = [_results(run) for run in runs]
    return Table("results", "Results of each run", tuple(rows[0]), [tuple(row.values()) for row in rows])


def _results(run: RunOverview) -> dict[str, Value]:
    shape, results = run.model.architecture, run.model.config.results
    network = next((each for each in run.predictors if each.name == NETWORK), None)
    speeds = run.curves.tokens_per_second
    return {
        "run": run.name,
        "network": f"{shape.cell} {shape.num_layers} x {shape.hidden_size}",
        "parameters": run.num_parameters,
        "valid_loss_nats": results.valid_loss_nats,
        "margin_nats": results.valid_margin_nats,
        "bits_per_char": None if network is None else network.bits_per_char,
        "perplexity": None if network is None else network.perplexity,
        "ngram_loss_nats": results.ngram_loss_nats,
        "interpolated_loss_nats": results.mixture_loss_nats,
        "best_step": results.best_step,
        "steps": results.steps,
        "seconds": results.seconds,
        "median_tokens_per_second": int(np.median(speeds)) if len(speeds) else None,
    }


def options_table(runs: Sequence[RunOverview]) -> Table:
    """Return the options in which runs differ, a column for each run."""
    values = [_options(run.model) for run in runs]
    names = list(dict.fromkeys(name for each in values for name in each))
    rows = [
        (name.replace("_", " "), *(each.get(name) for each in values))
        for name in names
        if len({repr(each.get(name)) for each in values}) > 1
    ]
    caption = "Options in which the runs differ" if rows else "The runs have the same options"
    return Table("options", caption, ("option", *(run.name for run in runs)), rows)


def _options(model: Model) -> dict[str, Value]:
    config = model.config
    values = {name: value for group in config.option_values().values() for name, value in group.items()}
    values |= {"vocabulary size": config.architecture.vocab_size, "direction": config.architecture.direction}
    values |= {"training tokens": config.corpus.train.num_tokens, "seed": config.seed}
    values["files"] = ", ".join(file.name for file in config.corpus.files)
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Value:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str | int | float):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def losses_table(runs: Sequence[RunOverview]) -> Table:
    """Return what predicts the held-out text of each run, and how well."""
    rows = [
        (run.name, each.name, each.loss_nats, each.bits_per_char, each.perplexity)
        for run in runs
        for each in run.predictors
    ]
    columns = ("run", "predictor", "loss_nats", "bits_per_char", "perplexity")
    return Table("losses", "Loss on the held-out text, in nats per token", columns, rows)
