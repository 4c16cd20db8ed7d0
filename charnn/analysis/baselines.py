"""The loss of a network beside that of simpler models of the same text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charnn.scoring.scores import perplexity
from charnn.storage.model_directory import Model
from charnn.text.bins import is_of_numbers
from charnn.text.corpus import open_ids
from charnn.text.stored_ids import spread

NETWORK = "network"
"""The name of the network among the predictors."""
MAX_COUNTED = 10_000_000
"""Tokens of the training text, and of the held-out one, from which the unigram model is estimated and evaluated."""


@dataclass(frozen=True)
class Predictor:
    """A model of the held-out text.

    Args:
        name: "chance" (all tokens of the vocabulary equally likely), "unigram" (each token by its frequency), "7-gram",
            `NETWORK`, or "network + 7-gram" (interpolated).
        loss_nats: mean loss per token.
        bits_per_char: None if the number of characters is unknown.
    """

    name: str
    loss_nats: float
    bits_per_char: float | None

    @property
    def perplexity(self) -> float:
        """Of a token."""
        return perplexity(self.loss_nats)


def predictors(model: Model) -> Sequence[Predictor]:
    """Return what predicts the held-out text, the simplest first: chance, unigram, n-gram model, network, and both."""
    results, valid = model.config.results, model.config.corpus.valid
    losses = {
        "chance": math.log(len(model.tokenizer.vocabulary)),
        "unigram": _unigram_loss(model),
        f"{results.ngram_order}-gram": results.ngram_loss_nats,
        NETWORK: results.valid_loss_nats,
        f"network + {results.ngram_order}-gram": results.mixture_loss_nats,
    }
    has_characters = valid.num_chars > 0 and not is_of_numbers(model.tokenizer)
    bits_per_nat = valid.num_tokens / valid.num_chars / math.log(2) if has_characters else None
    return [
        Predictor(name, loss, None if bits_per_nat is None else loss * bits_per_nat)
        for name, loss in losses.items()
        if loss is not None
    ]


def _unigram_loss(model: Model) -> float | None:
    """Return the loss of the training text's frequencies, each count raised by 1; None if a text is missing."""
    texts = [model.path / "train.bin", model.path / "valid.bin"]
    if not all(file.exists() and file.stat().st_size for file in texts):
        return None
    size = len(model.tokenizer.vocabulary)
    train, valid = (
        np.bincount(np.asarray(spread(open_ids(file, model.tokenizer), MAX_COUNTED)), minlength=size) for file in texts
    )
    log_probs = np.log(train + 1) - math.log(train.sum() + size)
    return -float(valid @ log_probs) / int(valid.sum())
