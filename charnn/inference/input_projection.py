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

UNKNOWN = -1
"""The place of a row that was not yet computed."""

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

    Rows are stored in the order in which they were asked for, so that those used are close together: a text uses a few thousand
    of a table, and the first use of a page of memory takes as long as the row itself.

    Args:
        bias_G: added to each row.
    """

    def __init__(self, vectors_RE: Floats, weight_GE: Floats, bias_G: Floats | None = None) -> None:
        self._vectors_RE, self._weight_GE, self._bias_G = vectors_RE, weight_GE, bias_G
        num_rows, self._size = len(vectors_RE), len(weight_GE)
        self._stored_RG = np.empty((num_rows, self._size + ROW_GAP), dtype=np.float32)
        self._places_R = np.full(num_rows, UNKNOWN, dtype=np.int32)
        self._num_stored = 0
        self._views: dict[int, Floats] = {}
        """Rows (G,) that were asked for one by one, by number: a look-up here is quicker than a slice of the table."""
        self._lock = threading.Lock()

    def __getitem__(self, row: int) -> Floats:
        """Return one row (G,)."""
        view = self._views.get(row)
        if view is None:
            with self._lock:
                view = self._views[row] = self._stored_RG[self._compute(row), : self._size]
        return view

    def _compute(self, row: int) -> int:
        place = int(self._places_R[row])
        if place < 0:  # else another thread was quicker
            place = self._num_stored
            np.dot(self._weight_GE, self._vectors_RE[row], out=self._stored_RG[place, : self._size])
            self._finish(row, place, 1)
        return place

    def many(self, rows: IdArray) -> Floats:
        """Return rows (..., G) that the caller may change, for their numbers (...)."""
        places = self._places_R[rows]
        if (places < 0).any():
            missing = np.unique(rows[places < 0])
            if len(missing) <= FEW_ROWS:
                for row in missing.tolist():
                    self[row]
            else:
                with self._lock:
                    missing = missing[self._places_R[missing] < 0]
                    first, last = self._num_stored, self._num_stored + len(missing)
                    self._stored_RG[first:last, : self._size] = self._vectors_RE[missing] @ self._weight_GE.T
                    self._finish(missing, np.arange(first, last), len(missing))
            places = self._places_R[rows]
        found: Floats = self._stored_RG[places][..., : self._size]
        return found

    def _finish(self, rows: Any, places: Any, number: int) -> None:
        if self._bias_G is not None:
            self._stored_RG[places, : self._size] += self._bias_G
        self._num_stored += number
        self._places_R[rows] = places


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
        for number, (table, row) in enumerate(zip(self._others, rows[1:], strict=True)):
            total = np.add(total, table[row], out=total if number else None)  # the first sum is not a row of a table
        return total


def tabulated(tables: Sequence[Floats], weight_GE: Floats, bias_G: Floats | None) -> ProjectedTables | None:
    """Return the projected tables, or None where they would take too much memory."""
    if sum(len(table) for table in tables) * len(weight_GE) > LARGEST_TABLE:
        return None
    return ProjectedTables(tables, weight_GE, bias_G)
