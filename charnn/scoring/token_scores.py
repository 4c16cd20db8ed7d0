"""The scores of a unit's tokens, held in arrays: an object for each token exists only while it is looked at."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from charnn.scoring.scores import ScoredToken
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import UNKNOWN

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]

TOKENS_AT_ONCE = 4096
CHARS_AT_ONCE = 1 << 16


def spelled_tokens(tokenizer: Tokenizer, text: str) -> Iterator[tuple[str, int]]:
    """Yield the spelling and start of each token of a text; of characters and bytes, few are in memory at a time."""
    width = CHARS_AT_ONCE if tokenizer.kind in ("char", "byte") else max(1, len(text))
    for first in range(0, len(text), width):
        for token in tokenizer.tokenize(text[first : first + width]):
            yield token.text, first + token.start


class TokenColumns(NamedTuple):
    """The values of N tokens in the order in which a model read them; None where they were not requested.

    Args:
        ids: token ids (N,).
        log_probs: log probabilities (N,).
        is_unknown, is_scored: whether the vocabulary lacks each token, and whether it was scored (N,).
        ranks, entropies: see `ScoredToken` (N,).
        top_ids, top_log_probs: the K most probable tokens and their log probabilities (N, K).
    """

    ids: Ids
    log_probs: Floats
    is_unknown: Marks
    is_scored: Marks
    ranks: Ids | None = None
    entropies: Floats | None = None
    top_ids: Ids | None = None
    top_log_probs: Floats | None = None


class TokenScores(Sequence[ScoredToken]):
    """The scored tokens of a unit, in the order of its text; a closing boundary comes last.

    Iteration holds few of them in memory; an index or slice makes them all.

    Args:
        text: the unit.
        start: its start in a running text.
        columns: the values of its tokens.
        tokenizer: the tokenizer.
        is_backward: whether the tokens were read from right to left.
        is_closed: whether the last token is the closing boundary.
    """

    def __init__(
        self,
        text: str,
        start: int,
        columns: TokenColumns,
        tokenizer: Tokenizer,
        *,
        is_backward: bool,
        is_closed: bool,
    ) -> None:
        self._text, self._start, self._columns, self._tokenizer = text, start, columns, tokenizer
        self._is_backward, self._is_closed = is_backward, is_closed
        self._all: list[ScoredToken] | None = None

    def __len__(self) -> int:
        return len(self._columns.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> ScoredToken: ...

    @overload
    def __getitem__(self, index: slice) -> list[ScoredToken]: ...

    def __getitem__(self, index: int | slice) -> ScoredToken | list[ScoredToken]:
        if self._all is None:
            self._all = list(self)
        return self._all[index]

    def __iter__(self) -> Iterator[ScoredToken]:
        if self._all is not None:
            yield from self._all
            return
        names = self._tokenizer.vocabulary.tokens
        closing = [(names[self._tokenizer.vocabulary.boundary_id], len(self._text))] if self._is_closed else []
        spelled = chain(spelled_tokens(self._tokenizer, self._text), closing)
        first = 0
        while part := list(islice(spelled, TOKENS_AT_ONCE)):
            yield from self._tokens(part, first)
            first += len(part)

    def _tokens(self, spelled: Sequence[tuple[str, int]], first: int) -> Iterator[ScoredToken]:
        """Yield the tokens from the one of index `first` on, which are spelled as given."""
        columns = self._columns
        positions = self._positions(np.arange(first, first + len(spelled)))
        is_scored = columns.is_scored[positions]

        def values(column: Ids | Floats | None) -> list[Any]:
            return [None] * len(spelled) if column is None else _where(is_scored, column[positions].tolist())

        rows = zip(
            spelled,
            columns.ids[positions].tolist(),
            values(columns.log_probs),
            columns.is_unknown[positions].tolist(),
            values(columns.ranks),
            values(columns.entropies),
            _where(is_scored, self._reductions(positions)),
            self._alternatives(positions, is_scored),
            strict=True,
        )
        for (text, start), id, log_prob, is_unknown, rank, entropy, reduction, alternatives in rows:
            yield ScoredToken(
                UNKNOWN if is_unknown and not text else text,
                id,
                self._start + start,
                log_prob,
                is_unknown,
                rank,
                entropy,
                reduction,
                alternatives,
            )

    def _positions(self, numbers: Ids) -> Ids:
        """Return the positions at which tokens were read, by their indices in the text."""
        if not self._is_backward:
            return numbers
        num_tokens = len(self) - int(self._is_closed)
        return np.where(numbers < num_tokens, num_tokens - 1 - numbers, numbers)

    def _reductions(self, positions: Ids) -> list[float | None]:
        """Return the entropy at each position less that at the next, at least 0; None at the last one."""
        entropies = self._columns.entropies
        if entropies is None:
            return [None] * len(positions)
        following = np.minimum(positions + 1, len(entropies) - 1)
        reductions = np.maximum(0.0, entropies[positions] - entropies[following]).tolist()
        return _where(positions + 1 < len(entropies), reductions)

    def _alternatives(self, positions: Ids, is_scored: Marks) -> Iterator[tuple[tuple[str, float], ...]]:
        top_ids, top_log_probs = self._columns.top_ids, self._columns.top_log_probs
        if top_ids is None or top_log_probs is None:
            yield from [()] * len(positions)
            return
        names = self._tokenizer.vocabulary.tokens
        rows = zip(is_scored.tolist(), top_ids[positions].tolist(), top_log_probs[positions].tolist(), strict=True)
        for scored, ids, values in rows:
            yield tuple((names[id], value) for id, value in zip(ids, values, strict=True)) if scored else ()


def _where(marks: Marks, values: list[Any]) -> list[Any]:
    """Return the values that are marked, and None for the others."""
    if marks.all():
        return values
    return [value if is_marked else None for value, is_marked in zip(values, marks.tolist(), strict=True)]


class JoinedTokens(Sequence[ScoredToken]):
    """The tokens of several segments of a text.

    Args:
        parts: the tokens of each segment.
    """

    def __init__(self, parts: Sequence[Sequence[ScoredToken]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @overload
    def __getitem__(self, index: int) -> ScoredToken: ...

    @overload
    def __getitem__(self, index: slice) -> list[ScoredToken]: ...

    def __getitem__(self, index: int | slice) -> ScoredToken | list[ScoredToken]:
        return list(self)[index]

    def __iter__(self) -> Iterator[ScoredToken]:
        return chain.from_iterable(self._parts)
