"""A new run: the texts are read, all that is open is decided, and the directory is filled."""

import contextlib
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import charnn
from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.config.compatibility import check_compatibility
from charnn.errors import ModelError, TrainingError
from charnn.files import staging_directory, write_atomically
from charnn.ngrams.kneser_ney import NgramModel
from charnn.ngrams.spelling import learn_spelling
from charnn.notices import notice_logger
from charnn.storage.model_directory import (
    BACKWARD,
    is_half_of_bidirectional,
    is_model,
    read_config,
    read_model,
    read_ngrams,
    tokenizer_hash,
    write_ngrams,
    write_spelling,
    write_tokenizer,
)
from charnn.storage.run_config import AskedOptions, CorpusFacts, Results, RunConfig, Versions
from charnn.storage.run_files import NGRAM_FILE, SPELLING_FILE
from charnn.text import cache
from charnn.text.corpus import Corpus, open_ids, prepare_corpus, reverse_encoded
from charnn.text.encoding import SPLITS
from charnn.text.progress import Report
from charnn.training.optim.schedule import seconds_for_steps, seconds_to_end
from charnn.training.planning.devices import choose_device
from charnn.training.planning.plan import Plan, make_plan, resolve_budget
from charnn.training.position import Position
from charnn.training.run.metrics import count_beside, read_held_out, tokens_to_count
from charnn.training.run.session import Session, close_text, make_session, make_workers, open_text, save

logger = notice_logger(__name__)

FEWEST_STEPS = 20
"""Steps below which training is of no use."""
SLOW_STEP = 0.5
"""Seconds of a step from which on a time budget without room for two of them is refused, rather than spent on nothing."""


def begin(
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
    """Read the texts and set up a new run in `directory`; what lies there stays until the new run is whole.

    Args:
        overwrite: replace a model that lies there.
        started: `time.monotonic()` from which the time budget counts.
        report: told how far the reading of the text and the counting of n-grams have come.
        recipe: the name of the one that options come from.

    Raises:
        CharnnError: for anything wrong with what was given; the directory is then as it was.
    """
    _refuse_to_destroy(directory, overwrite)
    check_compatibility(text_options, model_options, training_options)
    options = resolve_budget(training_options)
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
        )
        if model_options.direction == "backward":
            for split in SPLITS:
                reverse_encoded(staging / f"{split}.bin", staging / f"{split}.bin", corpus.tokenizer)
        plan = make_plan(model_options, options, corpus=corpus, device=device, workers=workers)
        _refuse_too_little_time(plan, time.monotonic() - started)
        config = _make_config(corpus, AskedOptions(text_options, model_options, training_options), plan, recipe)
        session = make_session(staging, config, corpus.tokenizer, Position(), started, workers=workers)
        _complete(session, plan.ngram_order, options, text_key=corpus.cache_key, report=report)
        if text_options.spell and corpus.spelling_examples:
            _add_spelling(staging, corpus, tokenizer_sha256=config.tokenizer_sha256)
        close_text(session)
        unfinished.pop_all()
    session.directory = directory
    open_text(session)
    return session


def begin_backward(forward: Path, *, started: float) -> Session:
    """Set up the other half of a pair: the same network on the same text, read from right to left.

    It lies in the directory `BACKWARD` of the model that reads from left to right, and needs nothing but what is there.

    Args:
        forward: that model's directory.
        started: `time.monotonic()` from which the time budget counts.

    Raises:
        CharnnError: where the model is damaged or nothing can be written.
    """
    model = read_model(forward)
    backward = replace(model.architecture, direction="backward")
    config = replace(model.config, architecture=backward, mixture_weights=None, results=Results())
    directory = forward / BACKWARD
    with staging_directory(directory) as staging:
        for split in SPLITS:
            reverse_encoded(forward / f"{split}.bin", staging / f"{split}.bin", model.tokenizer)
        session = make_session(staging, config, model.tokenizer, Position(), started)
        _complete(session, config.plan.ngram_order, config.training)
        if (forward / SPELLING_FILE).exists():
            write_atomically(staging / SPELLING_FILE, (forward / SPELLING_FILE).read_bytes())
        close_text(session)
    session.directory = directory
    open_text(session)
    return session


def _complete(
    session: Session,
    ngram_order: int,
    options: TrainingOptions,
    *,
    text_key: str = "",
    report: Report | None = None,
) -> None:
    """Fill a new run's directory with what training begins with.

    Args:
        text_key: names the encoded text in the cache; empty where it is not kept.
    """
    write_tokenizer(session.directory, session.tokenizer)
    if ngram_order:
        _add_ngrams(session, ngram_order, options, text_key=text_key, report=report)
    session.unsaved_best = session.trainer.averaged_arrays()
    save(session)


def _refuse_too_little_time(plan: Plan, seconds: float) -> None:
    """Refuse a time budget in which no step could be finished.

    Args:
        seconds: that are spent.
    """
    minutes, batch_size = plan.options.minutes, plan.options.batch_size
    assert batch_size is not None
    step_seconds = batch_size * plan.options.bptt_length / plan.speed.training
    evaluation_seconds = plan.max_valid_tokens / plan.speed.evaluation
    if minutes is None or step_seconds < SLOW_STEP:
        return
    if seconds_for_steps(minutes, evaluation_seconds) - seconds >= 2 * step_seconds:
        return
    needed = _minutes_for(seconds, step_seconds, evaluation_seconds)
    raise TrainingError(
        f"--minutes {minutes:g}: {seconds:.0f} s are spent on reading and timing, and a step takes {step_seconds:.1f} s here; "
        f"give it --minutes {needed:g} or more, or a smaller --vocab-size, --hidden-size or --batch-size"
    )


def _minutes_for(seconds: float, step_seconds: float, evaluation_seconds: float) -> float:
    """Return the minutes, to a tenth, that are enough for a few steps and the end after so many seconds."""
    return math.ceil((seconds + FEWEST_STEPS * step_seconds + seconds_to_end(evaluation_seconds)) / 6) / 10


def _refuse_to_destroy(directory: Path, overwrite: bool) -> None:
    if not directory.exists() or (overwrite and is_model(directory)):
        return
    if is_model(directory):
        stopped = read_config(directory).results.stopped
        state = "a finished" if stopped in ("budget", "patience") else "an unfinished"
        raise ModelError(
            f"{directory}: holds {state} model; go on with it (--resume), replace it (--overwrite), or name another place (-o)"
        )
    if directory.is_file() or any(directory.iterdir()):
        raise ModelError(f"{directory}: exists and is no model of charnn's; name another place with -o")


def _add_ngrams(
    session: Session,
    order: int,
    options: TrainingOptions,
    *,
    text_key: str,
    report: Report | None,
) -> None:
    """Put the n-gram model beside the network, from the cache where an earlier run has counted the same."""
    tokenizer, directory = session.tokenizer, session.directory
    ids = open_ids(directory / "train.bin", tokenizer)
    seconds = options.minutes * 60 if options.minutes else None
    root = cache.cache_directory() if text_key else None
    key = cache.make_cache_key(
        what="n-grams",
        text=text_key,
        direction=session.architecture.direction,
        order=order,
        num_tokens=tokens_to_count(len(ids), seconds),
    )
    session.ngrams = _kept_ngrams(session, root, key)
    if session.ngrams is not None:
        logger.info(f"n-grams up to order {session.ngrams.order}: taken from the cache, counted by an earlier run")
    else:
        session.ngrams = count_beside(
            ids, tokenizer.vocabulary, order=order, unit=tokenizer.unit, seconds=seconds, report=report
        )
        write_ngrams(directory, session.ngrams, tokenizer_sha256=session.config.tokenizer_sha256)
        cache.store(
            root, key, {NGRAM_FILE: directory / NGRAM_FILE}, {"what": f"n-grams of order {session.ngrams.order}"}
        )
    session.config.results.ngram_order = session.ngrams.order
    if len(session.held_out):
        reading = read_held_out(session.ngrams, session.held_out, tokenizer.vocabulary, unit=tokenizer.unit)
        session.config.results.ngram_loss_nats = -float(np.log(reading.probs).mean())


def _kept_ngrams(session: Session, root: Path | None, key: str) -> NgramModel | None:
    """Copy the n-gram model from the cache into the run's directory and return it, or None where it is not kept."""
    if cache.fetch(root, key, session.directory) is None:
        return None
    try:
        return read_ngrams(
            session.directory,
            len(session.tokenizer.vocabulary),
            tokenizer_sha256=session.config.tokenizer_sha256,
        )
    except ModelError:
        return None


def _add_spelling(directory: Path, corpus: Corpus, *, tokenizer_sha256: str) -> None:
    """Put the model of spellings beside the network, from the cache where it is there."""
    root = cache.cache_directory() if corpus.cache_key else None
    key = cache.make_cache_key(what="spelling", text=corpus.cache_key)
    if cache.fetch(root, key, directory) is None:
        spelling = learn_spelling(corpus.spelling_examples, corpus.tokenizer.vocabulary.tokens)
        write_spelling(directory, spelling, tokenizer_sha256=tokenizer_sha256)
        cache.store(root, key, {SPELLING_FILE: directory / SPELLING_FILE}, {"what": "spellings of rare words"})


def minutes_to_learn(session: Session) -> float:
    """Return the --minutes that would have been enough for a few steps, where none were made: from what was measured."""
    plan, options = session.config.plan, session.config.training
    assert options.batch_size is not None
    assert plan.training_tokens_per_second is not None
    step_seconds = options.batch_size * options.bptt_length / plan.training_tokens_per_second
    minutes = _minutes_for(session.config.results.seconds, step_seconds, plan.evaluation_seconds)
    return minutes * 2 if is_half_of_bidirectional(session.config) else minutes  # which both networks share


def _make_config(corpus: Corpus, asked: AskedOptions, plan: Plan, recipe: str | None) -> RunConfig:
    return RunConfig(
        architecture=plan.architecture,
        asked=asked,
        training=plan.options,
        plan=plan.facts(),
        tokenizer_sha256=tokenizer_hash(corpus.tokenizer.files()),
        corpus=CorpusFacts(corpus.files, corpus.train, corpus.valid),
        versions=Versions(charnn.__version__, torch.__version__, platform.python_version()),
        recipe=recipe,
    )
