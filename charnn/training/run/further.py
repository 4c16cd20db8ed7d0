"""Further training in a run's directory: the held-out text of the earlier model, and what the network forgets of it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charnn.files import explain_write_errors
from charnn.notices import notice_logger
from charnn.storage.run_config import ParentFacts, PlanFacts
from charnn.storage.run_files import OLD_VALID_FILE
from charnn.text.corpus import open_ids
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import Vocabulary
from charnn.training.evaluation import Validation, held_out_log_probs
from charnn.training.held_out import HeldOutText
from charnn.training.network.network import Network
from charnn.training.parallel.workers import Workers
from charnn.training.run.parent import Parent

if TYPE_CHECKING:
    from charnn.training.run.session import Session

logger = notice_logger(__name__)

OLD_FRACTION, MIN_OLD_TOKENS = 0.25, 2000
"""Tokens of the earlier model's held-out text that are evaluated, as a fraction of those of the new one, and at least."""


def store_old_text(directory: Path, parent: Parent, vocabulary: Vocabulary) -> None:
    """Store the held-out text of the earlier model in the directory of a run, in the ids of its vocabulary."""
    ids = parent.ids("valid")
    if ids is None or not len(ids):
        why = "its valid.bin is missing (--slim)" if ids is None else "nothing was held out"
        logger.info(f"{parent.model.path}: {why}, so what the model forgets of its old text cannot be measured")
        return
    file = directory / OLD_VALID_FILE
    with explain_write_errors(file), file.open("wb") as stream:
        stream.write(np.asarray(ids).astype(vocabulary.dtype).tobytes())
        stream.flush()
        os.fsync(stream.fileno())


def open_old_text(
    directory: Path, parent: ParentFacts | None, tokenizer: Tokenizer, plan: PlanFacts
) -> HeldOutText | None:
    """Return the part of the earlier model's held-out text that is evaluated; None if there is none."""
    file = directory / OLD_VALID_FILE
    if parent is None or not file.exists():
        return None
    num_tokens = max(round(plan.max_valid_tokens * OLD_FRACTION), MIN_OLD_TOKENS)
    return HeldOutText.of(open_ids(file, tokenizer), tokenizer.vocabulary, unit=parent.unit, max_tokens=num_tokens)


def loss_on(network: Network, text: HeldOutText, vocabulary: Vocabulary, *, workers: Workers | None = None) -> float:
    """Return the mean loss of a network on a held-out text, in nats per token."""
    return -float(held_out_log_probs(network, text, vocabulary, workers=workers).mean(dtype=np.float64))


def with_old_loss(
    evaluate: Callable[[], Validation],
    network: Network,
    text: HeldOutText,
    vocabulary: Vocabulary,
    *,
    workers: Workers | None = None,
) -> Callable[[], Validation]:
    """Return an evaluation that also measures the loss on the earlier model's held-out text, at the same temperature."""

    def evaluate_both() -> Validation:
        validation = evaluate()
        log_probs = held_out_log_probs(network, text, vocabulary, temperature=validation.temperature, workers=workers)
        return replace(validation, old_loss_nats=-float(log_probs.mean(dtype=np.float64)))

    return evaluate_both


def measure_before_training(session: "Session", parent: Parent) -> None:
    """Measure the losses with which further training begins, and log them."""
    network, vocabulary, workers = session.trainer.network, session.tokenizer.vocabulary, session.trainer.workers
    losses = []
    if len(session.evaluated):
        losses.append(
            f"{loss_on(network, session.evaluated, vocabulary, workers=workers):.4f} on the new held-out text"
        )
    if session.old_held_out is not None:
        old_loss = loss_on(network, session.old_held_out, vocabulary, workers=workers)
        session.config.results.old_loss_before_nats = old_loss
        losses.append(f"{old_loss:.4f} on its own")
    steps = f"step {parent.facts.generation:,}"
    found = f"; their loss is {' and '.join(losses)} (nats per token)" if losses else ""
    logger.info(f"training begins with the weights of {parent.model.path} ({steps}){found}")
