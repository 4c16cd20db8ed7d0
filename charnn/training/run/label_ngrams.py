"""An n-gram model of the training units of each label, for `classify` and, with a label, for `--mix-ngram`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.ngrams.counting import count_ngrams
from charnn.ngrams.kneser_ney import NgramModel, estimate
from charnn.storage.label_ngrams import write_label_ngrams
from charnn.text.corpus import open_ids
from charnn.text.facts import LabelFacts
from charnn.text.labels import read_labels
from charnn.text.stored_ids import positions_of
from charnn.text.tokenizers import Tokenizer

MAX_ORDER = 5
MOST_TOKENS = 1 << 24
"""Training tokens up to which n-grams are counted by label; of longer texts, networks learn enough."""


def add_label_ngrams(
    directory: Path, tokenizer: Tokenizer, labels: Sequence[LabelFacts], *, order: int, tokenizer_sha256: str
) -> None:
    """Write the n-gram models of the labels of an encoded text, unless it has none, many, or is long.

    Args:
        directory: of the encoded text.
        order: of the n-gram model of the whole text; 0 for none, and then there are none of labels either.
    """
    ids = open_ids(directory / "train.bin", tokenizer)
    if not labels or not order or len(ids) > MOST_TOKENS:
        return
    models = [
        _of_label(np.asarray(part), tokenizer, min(order, MAX_ORDER)) for part in _by_label(directory, ids, tokenizer)
    ]
    write_label_ngrams(directory, models, tokenizer_sha256=tokenizer_sha256)


def _by_label(directory: Path, ids: npt.NDArray[Any], tokenizer: Tokenizer) -> list[npt.NDArray[Any]]:
    """Return the tokens of the units of each label."""
    ends = positions_of(ids, tokenizer.vocabulary.boundary_id).astype(np.int64)
    lengths = np.diff(np.append(-1, ends))
    labels = np.repeat(read_labels(directory, "train"), lengths)
    order = np.argsort(labels, kind="stable")
    return np.split(np.asarray(ids)[order], np.cumsum(np.bincount(labels)[1:])[:-1])


def _of_label(ids: npt.NDArray[Any], tokenizer: Tokenizer, order: int) -> NgramModel:
    vocabulary = tokenizer.vocabulary
    counts = count_ngrams(
        ids, order=order, vocab_size=len(vocabulary), boundary_id=vocabulary.boundary_id, cut_at_boundary=True
    )
    return estimate(counts, len(vocabulary))
