"""The sizes of the tables of n-gram embeddings, chosen by the n-grams of the training text."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.cells.ngram_embedding import MAX_ROWS, max_rows, ngram_row
from charnn.cells.word_prefix import codes_of
from charnn.config import Architecture
from charnn.ngrams.counting import Counts, NgramCounts, count_ngrams
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import Vocabulary

Digits = list[npt.NDArray[np.int64]]

ROWS_PER_NGRAM = 6
"""Rows of a table per distinct n-gram of the text; two are measurably worse (see README.md in `training/`)."""
MAX_TOKENS = 1 << 20
"""Maximum length of a text whose n-grams are counted for this; the tables are a small part of what a longer one leaves."""
SEARCHED_FRACTION, MAX_CANDIDATES = 0.25, 256
"""Sizes down to this much below the limit are tried, up to so many of them."""


def choose_table_sizes(
    ids: npt.NDArray[Any], vocabulary: Vocabulary, *, unit: str, max_order: int
) -> tuple[int, ...] | None:
    """Return the rows of each table of n-grams, from order 2 on; None for as many as the vocabulary requires.

    n-grams that leave the same remainder share a row, and how many do depends on the divisor. So of the sizes just below the
    limit, the one is chosen with which the fewest n-grams of the text share a row with a more frequent one.

    Args:
        ids: the training text (N,).
        max_order: maximum order of the n-gram embeddings.
    """
    if max_order == 1 or len(ids) > MAX_TOKENS:
        return None
    return tuple(_choose_size(ids, vocabulary, unit, order) for order in range(2, max_order + 1))


def with_words(architecture: Architecture, tokenizer: Tokenizer) -> Architecture:
    """Return an architecture with a table of the word so far, if its tokens are the characters or bytes of words."""
    has_words = tokenizer.kind in ("char", "byte") and tokenizer.fasta is None
    if architecture.embedding_order == 1 or not has_words:
        return architecture
    return replace(architecture, word_rows=MAX_ROWS, word_codes=codes_of(tokenizer.vocabulary.tokens))


def _choose_size(ids: npt.NDArray[Any], vocabulary: Vocabulary, unit: str, order: int) -> int:
    vocab_size, is_cut = len(vocabulary), unit != "stream"
    largest = max_rows(vocab_size, order)
    ngrams = count_ngrams(
        ids, order=order, vocab_size=vocab_size, boundary_id=vocabulary.boundary_id, cut_at_boundary=is_cut
    )
    if ngrams.order < order:  # too long for a key
        return largest
    digits, counts = _as_read(ngrams, vocabulary.boundary_id if is_cut else None)
    limit = max(1, ROWS_PER_NGRAM * len(counts))
    if limit >= largest:
        return largest
    searched = int(SEARCHED_FRACTION * limit)
    candidates = range(limit, limit - searched - 1, -max(1, searched // MAX_CANDIDATES))
    return min(candidates, key=lambda num_rows: num_sharing(ngram_row(digits, vocab_size, num_rows), counts))


def _as_read(ngrams: NgramCounts, boundary_id: int | None) -> tuple[Digits, Counts]:
    """Return the digits of the n-grams that a network reads (see `ngram_row`), and the count of each.

    Args:
        boundary_id: for separate units, at whose beginning a network reads a boundary without context, and none at the end.
    """
    keys, counts, bits = ngrams.keys, ngrams.counts, np.uint64(ngrams.bits)
    mask = np.uint64((1 << ngrams.bits) - 1)
    if boundary_id is not None:
        last = keys & mask
        keys, indices = np.unique(np.where(last == boundary_id + 1, last, keys), return_inverse=True)
        counts = np.bincount(indices, weights=counts).astype(np.int64)
    shifts = [np.uint64(distance) * bits for distance in reversed(range(ngrams.order))]
    return [((keys >> shift) & mask).astype(np.int64) for shift in shifts], counts


def num_sharing(rows: npt.NDArray[np.int64], counts: Counts) -> int:
    """Return how often a text has an n-gram that shares its row with a more frequent one.

    Args:
        rows: the row of each distinct n-gram (M,).
        counts: the count of each (M,).
    """
    most = np.zeros(rows.max(initial=0) + 1, dtype=np.int64)
    np.maximum.at(most, rows, counts)
    return int(counts.sum() - most.sum())
