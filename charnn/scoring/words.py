"""The surprisal of words, whatever the model's tokens are: the sum over the tokens that a word is made of.

A word is what white space separates. Where a token is white space, it counts with the word after it or with the word before
it: the former is how subword models see words, the latter asks of a word that it ends there (Oh and Schuler 2024, Leading
whitespaces of language models' subword vocabulary pose a confound for calculating word probabilities).
"""

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from charnn.scoring.scores import Score, ScoredToken

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class ScoredWord:
    """A word of a unit.

    Args:
        word: as it stands in the text, without white space; the closing boundary is one of its own where no word takes it in.
        start, end: its position in the unit, in characters.
        tokens: what its probability is the product of, white space included.

    Example:
        >>> model.score_words("The fox slept.")[1].surprisal_bits
    """

    word: str
    start: int
    end: int
    tokens: Sequence[ScoredToken]

    @property
    def log_prob_nats(self) -> float | None:
        """The sum over its tokens, None where one of them was not scored."""
        parts = [token.log_prob_nats for token in self.tokens]
        known = [part for part in parts if part is not None]
        return sum(known) if known and len(known) == len(parts) else None

    @property
    def surprisal_bits(self) -> float | None:
        """The negative log probability in bits, None where one of its tokens was not scored."""
        return None if self.log_prob_nats is None else -self.log_prob_nats / math.log(2) + 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the word, its position, surprisal, and number of tokens."""
        return {
            "word": self.word,
            "start": self.start,
            "end": self.end,
            "log_prob_nats": self.log_prob_nats,
            "surprisal_bits": self.surprisal_bits,
            "num_tokens": len(self.tokens),
            "is_unknown": self.is_unknown,
        }

    @property
    def is_unknown(self) -> bool:
        """Whether one of its tokens is."""
        return any(token.is_unknown for token in self.tokens)


def scored_words(score: Score, *, spaces: Literal["before", "after"], is_closed: bool) -> list[ScoredWord]:
    """Return the words of a unit, in order.

    Args:
        score: of a unit, with its tokens.
        spaces: "before" lets white space count with the word after it, and the closing boundary on its own; "after" lets both
            count with the word before them.
        is_closed: whether the last token is the closing boundary.
    """
    tokens = list(score.tokens)
    closing = [tokens.pop()] if is_closed and tokens else []
    spans = [match.span() for match in WORD.finditer(score.text)]
    if not spans:
        return [_boundary(score, [*tokens, *closing])] if tokens or closing else []
    *parts, trailing = divided_tokens(tokens, spans, score.start, spaces=spaces)
    if spaces == "after":
        parts[-1].extend(closing)
        closing = []
    words = [
        ScoredWord(score.text[start:end], score.start + start, score.start + end, part)
        for (start, end), part in zip(spans, parts, strict=True)
        if part
    ]
    return [*words, _boundary(score, [*trailing, *closing])] if trailing or closing else words


def divided_tokens(
    tokens: Sequence[ScoredToken],
    spans: Sequence[tuple[int, int]],
    offset: int,
    *,
    spaces: Literal["before", "after"],
) -> list[list[ScoredToken]]:
    """Return the tokens of each span of a text, and last the white space after all spans that counts with none.

    A token belongs to the span in which it begins; one that begins between two spans, to the second ("before") or first.

    Args:
        spans: start and end of each, in order, with white space between them.
        offset: start of the text.
    """
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    parts: list[list[ScoredToken]] = [[] for _ in range(len(spans) + 1)]
    for token in tokens:
        start = token.start - offset
        number = bisect_right(ends, start) if spaces == "before" else max(0, bisect_right(starts, start) - 1)
        parts[number].append(token)
    return parts


def _boundary(score: Score, tokens: Sequence[ScoredToken]) -> ScoredWord:
    return ScoredWord(tokens[-1].token, tokens[0].start, score.start + len(score.text), tokens)


def entropy_reduction(word: ScoredWord, following: ScoredWord | None) -> float | None:
    """Return max(0, H before the word - H after it), None where the latter is not known."""
    before = word.tokens[0].entropy_nats
    after = following.tokens[0].entropy_nats if following else None
    return None if before is None or after is None else max(0.0, before - after)


def with_following(words: Sequence[ScoredWord]) -> list[tuple[ScoredWord, ScoredWord | None]]:
    """Return each word with the one after it."""
    return [*pairwise(words), (words[-1], None)] if words else []
