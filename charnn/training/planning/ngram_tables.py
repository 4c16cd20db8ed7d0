"""The sizes of the tables of n-gram embeddings, chosen by the n-grams of the training text."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charnn.cells.ngram_embedding import max_rows, ngram_row
from charnn.cells.word_prefix import MAX_WORD_ROWS, codes_of, rows_of_words
from charnn.ngrams.counting import Counts, NgramCounts, count_ngrams
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import Vocabulary

Digits = list[npt.NDArray[np.int64]]

ROWS_PER_NGRAM = 6
"""Rows of a table per distinct n-gram of the text; two are measurably worse (see README.md in `training/`)."""
MAX_TOKENS = 1 << 20
"""Maximum length of a text whose n-grams are counted for this; the tables are a small part of what a longer one leaves."""
MAX_NEW_FRACTION = 0.15
"""Maximum fraction of letters at which the word so far occurs once: as many are probably new in other text (Good 1953).
Where more are, as in a list of names, a network learns beginnings of the training text by heart."""
PIECE, NUM_NAMES = 512, (1 << 31) - 1
"""Tokens that are read at a time to count words, and numbers that they are told apart by."""
SEARCHED_FRACTION, MAX_CANDIDATES = 0.25, 256
"""Sizes down to this much below the limit are tried, up to so many of them."""


class InputTableSizes(NamedTuple):
    """The part of an architecture that describes its tables (see `Architecture`)."""

    ngram_table_sizes: tuple[int, ...] | None
    word_rows: int
    word_codes: tuple[int, ...] | None


def choose_input_tables(ids: npt.NDArray[Any], tokenizer: Tokenizer, *, max_order: int) -> InputTableSizes:
    """Return the sizes of all tables of a network.

    Args:
        ids: the training text (N,).
        max_order: maximum order of the n-gram embeddings; with 1, there are no tables.
    """
    if max_order == 1:
        return InputTableSizes(None, 0, None)
    sizes = choose_table_sizes(ids, tokenizer.vocabulary, unit=tokenizer.unit, max_order=max_order)
    num_rows = choose_word_rows(ids, tokenizer)
    return InputTableSizes(sizes, num_rows, codes_of(tokenizer.vocabulary.tokens) if num_rows else None)


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


def choose_word_rows(ids: npt.NDArray[Any], tokenizer: Tokenizer) -> int:
    """Return the rows of the table of the word so far; 0 for none, unless tokens are characters or bytes of words that recur.

    Args:
        ids: the training text (N,).
    """
    if tokenizer.kind not in ("char", "byte") or tokenizer.fasta is not None:
        return 0
    counts = count_words(np.array(codes_of(tokenizer.vocabulary.tokens))[ids[:MAX_TOKENS]])
    if (counts == 1).sum() > MAX_NEW_FRACTION * counts.sum():
        return 0
    return min(ROWS_PER_NGRAM * len(counts), MAX_WORD_ROWS)


def count_words(codes: npt.NDArray[np.int64]) -> Counts:
    """Return how often each word so far occurs.

    Args:
        codes: of the tokens (N,), see `codes_of`. They are read in pieces, at whose ends a word is cut, too.
    """
    padded = np.full((-(-len(codes) // PIECE), PIECE), -1)
    padded.reshape(-1)[: len(codes)] = codes
    words, _ = rows_of_words(padded.T, np.zeros(len(padded), dtype=np.int64), NUM_NAMES, np)
    counts: Counts = np.unique(words[padded.T > 0], return_counts=True)[1]
    return counts


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
