"""The n-gram model of a run: counted before its network is made, and not in memory while the network is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from charnn.errors import ModelError
from charnn.ngrams.kneser_ney import NgramModel
from charnn.notices import notice_logger
from charnn.storage.model_directory import read_ngrams, write_ngrams
from charnn.storage.run_config import PlanFacts, RunConfig
from charnn.storage.run_files import NGRAM_FILE
from charnn.text import cache
from charnn.text.corpus import open_ids
from charnn.text.labels import read_labels
from charnn.text.progress import Report
from charnn.text.tokenizers import Tokenizer
from charnn.training.held_out import HeldOutText
from charnn.training.run.metrics import estimate_ngrams, evaluate_ngrams, tokens_to_count
from charnn.training.run.parent import Parent, texts_of_both

logger = notice_logger(__name__)


def open_held_out(directory: Path, tokenizer: Tokenizer, plan: PlanFacts, *, has_labels: bool = False) -> HeldOutText:
    """Return the held-out text of a run on which the final metrics are measured, memory-mapped.

    Args:
        has_labels: whether its units have labels.
    """
    return HeldOutText.of(
        open_ids(directory / "valid.bin", tokenizer),
        tokenizer.vocabulary,
        unit=tokenizer.unit,
        max_tokens=max(plan.final_valid_tokens, plan.max_valid_tokens),
        labels=read_labels(directory, "valid") if has_labels else None,
    )


def add_ngrams(
    directory: Path,
    config: RunConfig,
    tokenizer: Tokenizer,
    *,
    parent: Parent | None,
    text_key: str = "",
    report: Report | None = None,
) -> None:
    """Write the n-gram model of a run, if it is to have one, and note its loss on held-out text.

    It comes from the cache if an earlier run counted the same text.

    Args:
        directory: of the encoded text.
        config: of the run, whose results are completed.
        tokenizer: of the text.
        parent: the model that is trained further, if any.
        text_key: key of the encoded text in the cache; empty if it is not cached.
        report: called with the progress of counting.
    """
    order, minutes = config.plan.ngram_order, config.training.minutes
    if not order:
        return
    ids = open_ids(directory / "train.bin", tokenizer)
    seconds = minutes * 60 if minutes else None
    if parent is not None:
        ids = texts_of_both(parent, ids)
    root = cache.cache_directory() if text_key and parent is None else None
    key = cache.make_cache_key(
        what="n-grams",
        text=text_key,
        direction=config.architecture.direction,
        order=order,
        num_tokens=tokens_to_count(len(ids), seconds),
    )
    ngrams = _cached_ngrams(directory, config, root, key)
    if ngrams is not None:
        logger.info(f"n-grams up to order {ngrams.order}: taken from the cache, counted by an earlier run")
    else:
        ngrams = estimate_ngrams(
            ids,
            tokenizer.vocabulary,
            order=order,
            unit=tokenizer.unit,
            seconds=seconds,
            report=report,
            is_sequence=tokenizer.fasta is not None,
        )
        write_ngrams(directory, ngrams, tokenizer_sha256=config.tokenizer_sha256)
        cache.store(root, key, {NGRAM_FILE: directory / NGRAM_FILE}, {"what": f"n-grams of order {ngrams.order}"})
    config.results = replace(config.results, ngram_order=ngrams.order)
    held_out = open_held_out(directory, tokenizer, config.plan)
    if len(held_out):
        config.results.ngram_loss_nats = -float(np.log(evaluate_ngrams(ngrams, held_out).probs).mean())


def _cached_ngrams(directory: Path, config: RunConfig, root: Path | None, key: str) -> NgramModel | None:
    """Copy the n-gram model from the cache into the directory of the run and return it, or None if it is not cached."""
    if cache.fetch(root, key, directory) is None:
        return None
    try:
        return stored_ngrams(directory, config)
    except ModelError:
        return None


def stored_ngrams(directory: Path, config: RunConfig) -> NgramModel | None:
    """Return the n-gram model of a run from disk; None if it has none.

    Raises:
        ModelError: if the model is missing or damaged.
    """
    if not config.plan.ngram_order:
        return None
    return read_ngrams(directory, config.architecture.vocab_size, tokenizer_sha256=config.tokenizer_sha256)
