"""Creation of a run: read the texts, choose the unset options, and write the model directory."""

import contextlib
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

import charnn
from charnn.config import Architecture, ModelOptions, TextOptions, TrainingOptions
from charnn.config.compatibility import check_compatibility
from charnn.errors import TrainingError
from charnn.files import staging_directory, write_atomically
from charnn.ngrams.spelling import learn_spelling
from charnn.notices import notice_logger
from charnn.storage.model_directory import (
    is_half_of_bidirectional,
    read_model,
    tokenizer_hash,
    write_spelling,
    write_tokenizer,
)
from charnn.storage.new_directory import check_available
from charnn.storage.run_config import AskedOptions, CorpusFacts, PlanFacts, Results, RunConfig, Versions
from charnn.storage.run_files import BACKWARD, SPELLING_FILE
from charnn.text import cache
from charnn.text.corpus import Corpus, open_ids, prepare_corpus, reverse_encoded
from charnn.text.encoding import SPLITS
from charnn.text.progress import Report
from charnn.text.tokenizers import Tokenizer
from charnn.training.optim.schedule import seconds_for_steps, seconds_to_end
from charnn.training.parallel.workers import Workers
from charnn.training.planning.devices import choose_device
from charnn.training.planning.ngram_tables import choose_table_sizes
from charnn.training.planning.plan import Plan, make_plan, resolve_budget
from charnn.training.position import TrainingPosition
from charnn.training.run.further import measure_before_training, store_old_text
from charnn.training.run.label_ngrams import add_label_ngrams
from charnn.training.run.ngram_model import add_ngrams
from charnn.training.run.parent import (
    Parent,
    architecture_of,
    first_weights,
    kept_tokenizer,
    read_parent,
    read_parent_of_backward_half,
)
from charnn.training.run.session import Session, close_text, make_session, make_workers, open_text, save

logger = notice_logger(__name__)

MIN_STEPS = 20
"""Minimum number of steps within a recommended time budget; with fewer, training is useless."""
MANY_TOKENS = 1000
"""With a larger vocabulary, the output layer takes much of a step."""
SLOW_STEP_SECONDS = 0.5
"""If a step takes at least this long, a time budget that does not suffice for two steps is refused."""


def create_run(
    directory: Path,
    texts: Sequence[str],
    *,
    text_options: TextOptions,
    model_options: ModelOptions,
    training_options: TrainingOptions,
    overwrite: bool,
    started: float,
    report: Report | None = None,
    recipe: str | None = None,
) -> Session:
    """Read the texts and create a run in `directory`; an existing model there is replaced only once the new run is complete.

    Args:
        directory: the model directory.
        texts: files to train on (see `find_sources`).
        overwrite: replace an existing model.
        started: `time.monotonic()` at the start of the time budget.
        report: called with the progress of reading the text and counting n-grams.
        recipe: name of the recipe from which options were taken.

    Raises:
        CharnnError: for invalid options or texts; the directory is then unchanged.
    """
    check_available(directory, overwrite=overwrite)
    check_compatibility(text_options, model_options, training_options)
    options = resolve_budget(training_options)
    parent = None if options.init_from is None else read_parent(Path(options.init_from))
    device = choose_device(options.device)
    workers = make_workers(options, device)
    with contextlib.ExitStack() as unfinished, staging_directory(directory) as staging:
        unfinished.callback(workers.close)
        corpus = prepare_corpus(
            staging,
            texts,
            text_options,
            seed=options.seed,
            report=report,
            minutes=options.minutes,
            cache_root=cache.cache_directory(),
            kept=None if parent is None else kept_tokenizer(parent, text_options, is_extended=options.extend_vocab),
        )
        if model_options.direction == "backward":
            for split in SPLITS:
                reverse_encoded(staging / f"{split}.bin", staging / f"{split}.bin", corpus.tokenizer)
        fixed = None if parent is None else architecture_of(parent, corpus.tokenizer.vocabulary)
        plan = make_plan(model_options, options, corpus=corpus, device=device, workers=workers, fixed=fixed)
        plan = replace(plan, architecture=replace(plan.architecture, num_labels=len(corpus.labels)))
        _refuse_too_little_time(plan, time.monotonic() - started)
        config = _make_config(corpus, AskedOptions(text_options, model_options, training_options), plan, recipe)
        tokenizer, text_key = corpus.tokenizer, corpus.cache_key
        add_ngrams(staging, config, tokenizer, parent=parent, text_key=text_key, report=report)
        add_label_ngrams(
            staging, tokenizer, corpus.labels, order=plan.facts().ngram_order, tokenizer_sha256=config.tokenizer_sha256
        )
        session = _new_session(staging, config, tokenizer, started, parent=parent, workers=workers)
        _save_first(session)
        if text_options.spell and corpus.spelling_examples:
            _add_spelling(staging, corpus, tokenizer_sha256=config.tokenizer_sha256)
        close_text(session)
        unfinished.pop_all()
    session.directory = directory
    open_text(session)
    return session


def create_backward_half(forward: Path, *, started: float) -> Session:
    """Create the backward half of a bidirectional model: the same architecture on the same text, from right to left.

    Its directory is `BACKWARD` in the directory of the forward half.

    Args:
        forward: the directory of the forward half.
        started: `time.monotonic()` at the start of the time budget.

    Raises:
        CharnnError: if the forward half is damaged or the directory cannot be written.
    """
    model = read_model(forward)
    directory = forward / BACKWARD
    with staging_directory(directory) as staging:
        for split in SPLITS:
            reverse_encoded(forward / f"{split}.bin", staging / f"{split}.bin", model.tokenizer)
        facts = model.config.parent
        parent = None if facts is None else read_parent_of_backward_half(facts)
        if parent is None:
            architecture = _backward(model.architecture, staging, model.tokenizer)
        else:
            architecture = architecture_of(parent, model.tokenizer.vocabulary)
        config = replace(model.config, architecture=architecture, mixture_weights=None, results=Results())
        add_ngrams(staging, config, model.tokenizer, parent=parent)
        session = _new_session(staging, config, model.tokenizer, started, parent=parent)
        _save_first(session)
        if (forward / SPELLING_FILE).exists():
            write_atomically(staging / SPELLING_FILE, (forward / SPELLING_FILE).read_bytes())
        close_text(session)
    session.directory = directory
    open_text(session)
    return session


def _backward(forward: Architecture, directory: Path, tokenizer: Tokenizer) -> Architecture:
    """Return the architecture of a backward half: that of the forward half, with n-gram tables for the reversed text.

    Args:
        directory: of the reversed text.
    """
    sizes = forward.ngram_table_sizes
    if sizes is not None:
        ids = open_ids(directory / "train.bin", tokenizer)
        sizes = choose_table_sizes(ids, tokenizer.vocabulary, unit=tokenizer.unit, max_order=forward.embedding_order)
    return replace(forward, direction="backward", ngram_table_sizes=sizes)


def _new_session(
    directory: Path,
    config: RunConfig,
    tokenizer: Tokenizer,
    started: float,
    *,
    parent: Parent | None,
    workers: Workers | None = None,
) -> Session:
    """Return the session of a new run, with new weights or with those of an earlier model."""
    position = TrainingPosition()
    if parent is None:
        return make_session(directory, config, tokenizer, position, started, workers=workers)
    config.parent = parent.facts
    store_old_text(directory, parent, tokenizer.vocabulary)
    weights = first_weights(parent, tokenizer.vocabulary, seed=config.seed)
    session = make_session(directory, config, tokenizer, position, started, workers=workers, weights=weights)
    measure_before_training(session, parent)
    return session


def _save_first(session: Session) -> None:
    """Write the tokenizer and the first checkpoint of a new run."""
    write_tokenizer(session.directory, session.tokenizer)
    session.unsaved_best = session.trainer.averaged_arrays()
    save(session)


def _refuse_too_little_time(plan: Plan, seconds: float) -> None:
    """Raise TrainingError for a time budget that is too short for a step.

    Args:
        seconds: time already spent.
    """
    minutes, batch_size = plan.options.minutes, plan.options.batch_size
    assert batch_size is not None
    step_seconds = batch_size * plan.options.bptt_length / plan.speed.training
    facts = plan.facts()
    if minutes is None or step_seconds < SLOW_STEP_SECONDS:
        return
    if seconds_for_steps(minutes, facts.evaluation_seconds, facts.final_size) - seconds >= 2 * step_seconds:
        return
    needed = _minutes_for(seconds, step_seconds, facts)
    smaller = "--vocab-size, " if plan.architecture.vocab_size > MANY_TOKENS else ""
    raise TrainingError(
        f"--minutes {minutes:g}: reading and timing took {seconds:.0f} s, and a step takes {step_seconds:.1f} s here; "
        f"use --minutes {needed:g} or more, or a smaller {smaller}--hidden-size or --batch-size"
    )


def _minutes_for(seconds: float, step_seconds: float, plan: PlanFacts) -> float:
    """Return the minutes, to a tenth, that suffice for `MIN_STEPS` steps and the final evaluation after `seconds`."""
    return (
        math.ceil((seconds + MIN_STEPS * step_seconds + seconds_to_end(plan.evaluation_seconds, plan.final_size)) / 6)
        / 10
    )


def _add_spelling(directory: Path, corpus: Corpus, *, tokenizer_sha256: str) -> None:
    """Add the spelling model, from the cache if an earlier run trained it on the same text."""
    root = cache.cache_directory() if corpus.cache_key else None
    key = cache.make_cache_key(what="spelling", text=corpus.cache_key)
    if cache.fetch(root, key, directory) is None:
        spelling = learn_spelling(corpus.spelling_examples, corpus.tokenizer.vocabulary.tokens)
        write_spelling(directory, spelling, tokenizer_sha256=tokenizer_sha256)
        cache.store(root, key, {SPELLING_FILE: directory / SPELLING_FILE}, {"what": "spellings of rare words"})


def minutes_to_learn(session: Session) -> float:
    """Return the `--minutes` that suffice for `MIN_STEPS` steps at the measured speed, for a run that finished none."""
    plan, options = session.config.plan, session.config.training
    assert options.batch_size is not None
    assert plan.training_tokens_per_second is not None
    step_seconds = options.batch_size * options.bptt_length / plan.training_tokens_per_second
    minutes = _minutes_for(session.config.results.seconds, step_seconds, plan)
    return minutes * 2 if is_half_of_bidirectional(session.config) else minutes  # divided between both networks


def _make_config(corpus: Corpus, asked: AskedOptions, plan: Plan, recipe: str | None) -> RunConfig:
    return RunConfig(
        architecture=plan.architecture,
        asked=asked,
        training=plan.options,
        plan=plan.facts(),
        tokenizer_sha256=tokenizer_hash(corpus.tokenizer.files()),
        corpus=CorpusFacts(corpus.files, corpus.train, corpus.valid, list(corpus.labels)),
        versions=Versions(charnn.__version__, torch.__version__, platform.python_version()),
        recipe=recipe,
    )
