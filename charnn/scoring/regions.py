"""The surprisal of the regions of a sentence: the sum over the tokens of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from charnn.config import ScoreOptions
from charnn.scoring.scores import Score, ScoredToken
from charnn.scoring.words import divided_tokens
from charnn.text.located import Region

END = "</s>"
"""The region of the closing boundary, and of white space after the last region."""


@dataclass(frozen=True)
class ScoredRegion:
    """A region of a sentence.

    Args:
        region: its column; `</s>` for the end of the sentence.
        text: without the white space around it.
        log_prob_nats: sum over the tokens that are scored; None if there are none, or if --no-bos leaves one out.
        num_tokens: tokens in the sum.
        num_unknown: unknown tokens, in the sum or excluded from it.
    """

    region: str
    text: str
    log_prob_nats: float | None
    num_tokens: int
    num_unknown: int

    @property
    def surprisal_bits(self) -> float | None:
        """The negative log probability in bits."""
        return None if self.log_prob_nats is None else -self.log_prob_nats / math.log(2) + 0.0


def scored_regions(score: Score, regions: Sequence[Region], options: ScoreOptions) -> list[ScoredRegion]:
    """Return the regions of a sentence, in order.

    White space counts with the region after it, and the end of the sentence is a region of its own; with `--spaces after`, both
    count with the region before them. White space is on both sides of each boundary between regions, or on one, so no token
    is part of two of them.

    Args:
        score: of the sentence, with its tokens.

    Example:
        >>> regions = [charnn.text.located.Region("subject", 0, 7), charnn.text.located.Region("verb", 8, 14)]
        >>> [each.region for each in charnn.api.scored_regions(score, regions, ScoreOptions())]
        ['subject', 'verb', '</s>']
    """
    tokens = list(score.tokens)
    closing = [tokens.pop()] if options.closes and tokens else []
    spans = [(region.start, region.end) for region in regions]
    *parts, trailing = divided_tokens(tokens, spans, score.start, spaces=options.spaces)
    end = [*trailing, *closing]
    if options.spaces == "after":
        parts[-1].extend(end)
        end = []
    found = [
        _scored(region.column, score.text[region.start : region.end], part, options)
        for region, part in zip(regions, parts, strict=True)
    ]
    return [*found, _scored(END, "", end, options)] if end else found


def _scored(name: str, text: str, tokens: Sequence[ScoredToken], options: ScoreOptions) -> ScoredRegion:
    excluded = [token for token in tokens if options.exclude_unk and token.is_unknown]
    known = [token.log_prob_nats for token in tokens if token.log_prob_nats is not None]
    is_complete = bool(known) and len(known) + len(excluded) == len(tokens)
    num_unknown = sum(token.is_unknown for token in tokens)
    return ScoredRegion(name, text, sum(known) if is_complete else None, len(known), num_unknown)
