"""Which rows of their tables stand for the last two, three, ... tokens: written once for NumPy arrays and torch tensors."""

from collections.abc import Sequence
from typing import Any

MOST_ROWS = 16_381
"""Rows of a table, at most; a prime, so that n-grams hashed by division spread evenly."""


def num_rows(vocab_size: int, order: int) -> int:
    """Return the rows of the table for n-grams of one order: one each, or where that is too many, shared ones."""
    every: int = (vocab_size + 1) ** order
    return min(every, MOST_ROWS)


def ngram_row(digits: Sequence[Any], vocab_size: int) -> Any:
    """Return the row of the n-gram of some tokens, the latest last, each as id + 1, 0 for none: numbers, or arrays of
    one shape."""
    row = digits[0]
    for digit in digits[1:]:
        row = (row * (vocab_size + 1) + digit) % num_rows(vocab_size, len(digits))
    return row


def ngram_rows(ids_TB: Any, history_BN: Any, vocab_size: int, xp: Any) -> tuple[list[Any], Any]:
    """Return the row of each n-gram that ends in each token.

    Args:
        ids_TB: token ids (T, B).
        history_BN: the N tokens before each stream, the latest last, as id + 1, 0 where there is none (B, N).
        xp: numpy or torch.

    Returns:
        For orders 2 to N + 1 the rows (T, B), and the history after the last token.
    """
    num_before = history_BN.shape[1]
    digits = xp.concatenate((history_BN.T, ids_TB + 1))
    length = len(ids_TB)
    rows = []
    for order in range(2, num_before + 2):
        shifted = [digits[num_before - distance :][:length] for distance in range(order - 1, -1, -1)]
        rows.append(ngram_row(shifted, vocab_size))
    return rows, digits[length:].T
