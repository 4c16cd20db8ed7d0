"""The first layer's input projection as tables: a row for each token, each n-gram of an order, and each word so far."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.integer[Any]]
Multiply = Callable[[Floats, Floats], object]
"""(columns (I, B), out (G, B)): writes the product of a matrix and the columns to `out`."""

LARGEST_TABLE = 1 << 27
"""The most numbers in the tables of a network (512 MiB, of which only used rows are touched)."""
FEW_ROWS = 512
"""So many rows at once are computed one by one: a row is then the same whatever else is asked for."""
ROW_GAP = 16
"""Numbers between the rows of a table: rows a power of two apart share cache lines, and turning them into columns takes seven
times as long."""

ROW_MULTIPLE = 8
"""Matrices are padded with rows of zeros to a multiple of this, so that BLAS sums each row in the same order with one thread or
two."""


def padded(matrix: Floats) -> Floats:
    """Return a contiguous matrix (G, ...), padded with rows of zeros to a multiple of ROW_MULTIPLE."""
    missing = -len(matrix) % ROW_MULTIPLE
    rows = np.pad(matrix, ((0, missing), *((0, 0),) * (matrix.ndim - 1)))
    return np.ascontiguousarray(rows, dtype=np.float32)


class ProjectedRows:
    """A table of vectors (R, E) times a matrix (G, E), each row computed when it is first asked for, by whatever thread.

    Args:
        bias_G: added to each row.
    """

    def __init__(self, vectors_RE: Floats, weight_GE: Floats, bias_G: Floats | None = None) -> None:
        self._vectors_RE, self._weight_GE, self._bias_G = vectors_RE, weight_GE, bias_G
        num_rows, self._size = len(vectors_RE), len(weight_GE)
        self._rows_RG = np.empty((num_rows, self._size + ROW_GAP), dtype=np.float32)
        self._is_known_R = np.zeros(num_rows, dtype=bool)
        self._lock = threading.Lock()

    def __getitem__(self, row: int) -> Floats:
        """Return one row (G,)."""
        found = self._rows_RG[row, : self._size]
        if not self._is_known_R[row]:
            with self._lock:
                self._compute(row, found)
        return found

    def _compute(self, row: int, found: Floats) -> None:
        if not self._is_known_R[row]:  # another thread may have been quicker
            np.dot(self._weight_GE, self._vectors_RE[row], out=found)
            self._finish(row)

    def many(self, rows: IdArray) -> Floats:
        """Return rows (..., G) that the caller may change, for their numbers (...)."""
        is_known = self._is_known_R[rows]
        if not is_known.all():
            missing = np.unique(rows[~is_known])
            if len(missing) <= FEW_ROWS:
                for row in missing.tolist():
                    self[row]
            else:
                with self._lock:
                    missing = missing[~self._is_known_R[missing]]
                    self._rows_RG[missing, : self._size] = self._vectors_RE[missing] @ self._weight_GE.T
                    self._finish(missing)
        found: Floats = self._rows_RG[rows][..., : self._size]
        return found

    def _finish(self, rows: Any) -> None:
        if self._bias_G is not None:
            self._rows_RG[rows, : self._size] += self._bias_G
        self._is_known_R[rows] = True


class ProjectedTables:
    """The tables of the vectors of tokens, n-grams and words, times a matrix (G, E): rows add up to an embedding's projection.

    Args:
        bias_G: added to the projection.
        tokens: the rows of the tokens' own vectors, with the bias.
    """

    def __init__(self, tables: Sequence[Floats], weight_GE: Floats, bias_G: Floats | None) -> None:
        first, *others = tables
        self.tokens = ProjectedRows(first, weight_GE, bias_G)
        self._others = [ProjectedRows(table, weight_GE) for table in others]

    def look_up(self, rows: Sequence[IdArray]) -> Floats:
        """Return projections (..., G) that the caller may change, for the row in each table (...)."""
        total = self.tokens.many(rows[0])
        for table, row in zip(self._others, rows[1:], strict=True):
            total += table.many(row)
        return total

    def look_up_one(self, rows: Sequence[int]) -> Floats:
        """Return the same for one token (G,), which the caller may not change."""
        total = self.tokens[rows[0]]
        for table, row in zip(self._others, rows[1:], strict=True):
            total = total + table[row]
        return total


def tabulated(tables: Sequence[Floats], weight_GE: Floats, bias_G: Floats | None) -> ProjectedTables | None:
    """Return the projected tables, or None where they would take too much memory."""
    if sum(len(table) for table in tables) * len(weight_GE) > LARGEST_TABLE:
        return None
    return ProjectedTables(tables, weight_GE, bias_G)
