"""The embedding of a token: the sum of its vector, those of the n-grams that end with it, and that of the word so far.

Written once for NumPy arrays and torch tensors.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from charnn.cells.word_prefix import next_row, rows_of_words
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


class InputTables(NamedTuple):
    """The tables whose rows add up to the embedding of a token, beside that of its own vector.

    Args:
        vocab_size: by which n-grams are numbered.
        sizes: rows of each table of n-grams, from order 2 on (see `table_sizes`).
        word_rows: rows of the table of the word so far, 0 without one.
        codes_V: with it, the code of each token (see `word_prefix.codes_of`), an array of the kind of the ids.
    """

    vocab_size: int
    sizes: tuple[int, ...]
    word_rows: int
    codes_V: Any

    @classmethod
    def of(cls, architecture: Architecture, as_array: Callable[[Sequence[int]], Any]) -> "InputTables":
        """Return those of a network.

        Args:
            as_array: makes an integer array of numbers.
        """
        codes = None if architecture.word_codes is None else as_array(architecture.word_codes)
        return cls(architecture.numbered_vocab_size, table_sizes(architecture), architecture.word_rows, codes)

    def rows(self, ids_TB: Any, history_BM: Any, xp: Any) -> tuple[list[Any], Any]:
        """Return the rows, one in each table, whose vectors add up to each token's embedding.

        Args:
            ids_TB: token ids (T, B).
            history_BM: of each stream the N tokens before it, the latest last, as id + 1, 0 for none; then, with a table of
                the word so far, its row, 0 for none (B, M).
            xp: numpy or torch.

        Returns:
            The rows (T, B) in the token's own table, those of n-grams, and that of the word so far; and the history after the
            last token.
        """
        num_before = len(self.sizes)
        rows, parts = [ids_TB], []
        if num_before:
            digits = xp.concatenate((history_BM[:, :num_before].T, ids_TB + 1))
            length = len(ids_TB)
            windows = [digits[first:][:length] for first in range(num_before + 1)]
            rows += ngram_rows(windows, self.vocab_size, self.sizes)
            parts.append(digits[length:])
        if self.word_rows:
            words_TB, word_B = rows_of_words(self.codes_V[ids_TB], history_BM[:, -1], self.word_rows, xp)
            rows.append(words_TB)
            parts.append(word_B[None])
        return rows, xp.concatenate(parts).T if parts else history_BM

    def rows_of_one(self, id: int, history: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the same for one token and its history (M,)."""
        num_before = len(self.sizes)
        digits = [*history[:num_before], id + 1]
        rows, new_history = [id, *ngram_rows(digits, self.vocab_size, self.sizes)], digits[1:]
        if self.word_rows:
            row, word = next_row(int(self.codes_V[id]), history[-1], self.word_rows)
            rows.append(row)
            new_history.append(word)
        return rows, new_history

    def state_rows(self, ids_TB: Any, state: Sequence[Any], xp: Any) -> tuple[list[Any], Any]:
        """Return the rows, given a network's state, and the history as the end of the new state.

        Args:
            state: a network's state, whose last part is ``(history_BM,)`` if there is any table.
        """
        if not self.sizes and not self.word_rows:
            return [ids_TB], ()
        rows, history_BM = self.rows(ids_TB, state[-1][0], xp)
        return rows, ((history_BM,),)


def summed(vectors: Iterable[Any]) -> Any:
    """Return the sum of vectors, in the order of training and inference alike, from the first order on."""
    total, *others = vectors
    for vector in others:
        total = total + vector
    return total
