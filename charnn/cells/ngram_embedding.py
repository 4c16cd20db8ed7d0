"""The embedding of a token: the sum of its vector and those of the n-grams that end with it, in one table per order.

Written once for NumPy arrays and torch tensors.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from charnn.config import Architecture

MAX_ROWS = 16_381
"""Maximum rows of a table; a prime, so that n-grams hashed by division are spread evenly."""


def max_rows(vocab_size: int, order: int) -> int:
    """Return the maximum rows of the table for n-grams of one order: one each, or if there are too many, hashed ones."""
    every: int = (vocab_size + 1) ** order
    return min(every, MAX_ROWS)


def table_sizes(architecture: Architecture) -> tuple[int, ...]:
    """Return the rows of each table of n-grams, from order 2 on."""
    if architecture.ngram_table_sizes is not None:
        return architecture.ngram_table_sizes
    return tuple(max_rows(architecture.vocab_size, order) for order in range(2, architecture.embedding_order + 1))


def ngram_row(digits: Sequence[Any], vocab_size: int, num_rows: int) -> Any:
    """Return the row of an n-gram in the table of its order: its number in base V + 1, modulo the rows of the table.

    Args:
        digits: the tokens, the latest last, each as id + 1, 0 for none: numbers, or arrays of the same shape.
        vocab_size: V (see `Architecture.numbered_vocab_size`).
        num_rows: rows of the table.
    """
    row = digits[0]
    for digit in digits[1:]:
        row = (row * (vocab_size + 1) + digit) % num_rows
    return row


def ngram_rows(digits: Sequence[Any], vocab_size: int, sizes: Sequence[int]) -> list[Any]:
    """Return the rows of the n-grams of orders 2, 3, ... that end with the last token.

    Args:
        digits: as many tokens as the maximum order (see `ngram_row`).
        sizes: rows of each table (see `table_sizes`).
    """
    return [ngram_row(digits[-order:], vocab_size, size) for order, size in enumerate(sizes, start=2)]


def embedding_rows(
    ids_TB: Any, history_BN: Any, vocab_size: int, sizes: Sequence[int], xp: Any
) -> tuple[list[Any], Any]:
    """Return the rows, one in the table of each order, whose vectors add up to each token's embedding.

    Args:
        ids_TB: token ids (T, B).
        history_BN: the N tokens before each stream, the latest last, as id + 1, 0 for none (B, N).
        sizes: rows of each table of n-grams (N,), see `table_sizes`.
        xp: numpy or torch.

    Returns:
        For orders 1 to N + 1 the rows (T, B), and the history after the last token.
    """
    num_before = history_BN.shape[1]
    if not num_before:
        return [ids_TB], history_BN
    digits = xp.concatenate((history_BN.T, ids_TB + 1))
    length = len(ids_TB)
    windows = [digits[first:][:length] for first in range(num_before + 1)]
    return [ids_TB, *ngram_rows(windows, vocab_size, sizes)], digits[length:].T


def state_rows(
    ids_TB: Any, state: Sequence[Any], vocab_size: int, sizes: Sequence[int], xp: Any
) -> tuple[list[Any], Any]:
    """Return the same rows, given a network's state, and the history as the end of the new state.

    Args:
        state: a network's state, whose last part is ``(history_BN,)`` with n-gram embeddings.
        sizes: rows of each table of n-grams (see `table_sizes`), none without n-gram embeddings.
    """
    if not sizes:
        return [ids_TB], ()
    rows, history_BN = embedding_rows(ids_TB, state[-1][0], vocab_size, sizes, xp)
    return rows, ((history_BN,),)


def summed(vectors: Iterable[Any]) -> Any:
    """Return the sum of vectors, in the order of training and inference alike, from the first order on."""
    total, *others = vectors
    for vector in others:
        total = total + vector
    return total
