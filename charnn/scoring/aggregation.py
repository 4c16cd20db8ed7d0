"""From a unit's log probabilities to its score: what counts, what unknown tokens are worth, and each token in its place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.config import ScoreOptions
from charnn.config.scoring import LOG_OF_BASE
from charnn.ngrams.spelling import Spelling
from charnn.scoring.estimators import Floats
from charnn.scoring.scores import Score, ScoredToken
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import UNKNOWN

Ids = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]


@dataclass
class Encoded:
    """A unit on its way through a model: its ids as they are read, after the boundary and up to it."""

    number: int
    text: str
    context: Ids
    targets: Ids
    is_backward: bool
    num_unscored: int
    is_closed: bool
    start: int = 0


@dataclass
class Found:
    """What was found of one unit's targets (N,): log probabilities, and the rest where a model was asked for it."""

    log_probs: Floats
    ranks: Ids | None = None
    entropies: Floats | None = None
    top_ids: Ids | None = None
    top_log_probs: Floats | None = None

    def part(self, length: int) -> "Found":
        """Return what was found of the first targets."""
        if length == len(self.log_probs):
            return self
        kept = (each if each is None else each[:length] for each in vars(self).values())
        return Found(*kept)  # type: ignore[arg-type]

    @classmethod
    def column(cls, parts: Sequence["Found"], length: int, stream: int) -> "Found":
        """Return what was found of one stream, chunk after chunk (T, B, ...)."""

        def joined(values: list[npt.NDArray[np.float64] | None]) -> npt.NDArray[np.float64] | None:
            arrays = [value[:, stream] for value in values if value is not None]
            return np.concatenate(arrays)[:length] if arrays else None

        log_probs = joined([part.log_probs for part in parts])
        assert log_probs is not None
        return cls(
            log_probs,
            joined([part.ranks for part in parts]),  # type: ignore[misc, arg-type]
            joined([part.entropies for part in parts]),
            joined([part.top_ids for part in parts]),  # type: ignore[misc, arg-type]
            joined([part.top_log_probs for part in parts]),
        )


def summed(
    unit: Encoded,
    found: Found,
    tokenizer: Tokenizer,
    options: ScoreOptions,
    spelling: Spelling | None,
    *,
    with_tokens: bool,
) -> Score:
    """Add up a unit's counted tokens."""
    first = unit.num_unscored
    unknown_id = tokenizer.vocabulary.unknown_id
    is_unknown = np.zeros(len(unit.targets), dtype=bool) if unknown_id is None else unit.targets == unknown_id
    spans = _Spans(unit, tokenizer)
    log_probs = found.log_probs
    if is_unknown.any():
        log_probs = _with_unknown(log_probs, is_unknown, spans, options, spelling)
    counted = np.arange(len(log_probs)) >= first
    num_unknown = int((is_unknown & counted).sum())
    left_out = [0] if first and unit.text else []
    if options.exclude_unk and num_unknown:
        counted &= ~is_unknown
        left_out = sorted({*left_out, *np.flatnonzero(is_unknown).tolist()})
    text = spans.text_without(left_out)
    closing = int(unit.is_closed and first < len(unit.targets))
    return Score(
        number=unit.number,
        text=unit.text,
        start=unit.start,
        log_prob_nats=float(log_probs[counted].sum()),
        unknown_log_prob_nats=float(log_probs[counted & is_unknown].sum()),
        num_tokens=int(counted.sum()),
        num_unknown=num_unknown,
        num_excluded=num_unknown if options.exclude_unk else 0,
        num_chars=spans.num_chars(text, left_out) + closing,
        num_bytes=_num_bytes(text) - spans.num_bytes_left_out(left_out) + closing,
        num_words=len(text.split()) + closing,
        tokens=_scored_tokens(unit, found, log_probs, (is_unknown, counted), spans, tokenizer) if with_tokens else (),
    )


class _Spans:
    """Where a unit's tokens stand in its text, found out only where somebody asks."""

    def __init__(self, unit: Encoded, tokenizer: Tokenizer) -> None:
        self._unit, self._tokenizer = unit, tokenizer
        self._tokens: list[tuple[str, int]] | None = None

    def tokens(self) -> list[tuple[str, int]]:
        """Return each token's spelling and start, in the order of the text."""
        if self._tokens is None:
            self._tokens = [(token.text, token.start) for token in self._tokenizer.tokenize(self._unit.text)]
        return self._tokens

    def place_in_text(self, place: int) -> int:
        """Return which token of the text, from its beginning, was read as number `place`."""
        num_tokens = len(self._unit.targets) - int(self._unit.is_closed)
        return num_tokens - 1 - place if self._unit.is_backward and place < num_tokens else place

    def text_without(self, places: Sequence[int]) -> str:
        """Return the text without some tokens, those of bytes excepted: part of a character cannot be left out."""
        text = self._unit.text
        if not places or self._tokenizer.kind == "byte":
            return text
        tokens = self.tokens()
        if not tokens:  # white space that is no token of these words
            return ""
        starts = [*(start for _, start in tokens), len(text)]
        kept, last = [], 0
        for number in sorted(self.place_in_text(place) for place in places):
            kept.append(text[last : starts[number]])
            last = starts[number + 1]
        return "".join([*kept, text[last:]])

    def num_chars(self, text: str, places: Sequence[int]) -> int:
        """Return the characters of what `text_without` left; an unscored byte of a longer character takes none away."""
        if not places or self._tokenizer.kind != "byte":
            return len(text)
        alone = [_num_bytes(text[-1 if self._unit.is_backward else 0]) == 1 for _ in places]
        return len(text) - sum(alone)

    def num_bytes_left_out(self, places: Sequence[int]) -> int:
        """Return the bytes that are left out though their text is not."""
        return len(places) if self._tokenizer.kind == "byte" else 0


def _with_unknown(
    log_probs: Floats,
    is_unknown: Marks,
    spans: _Spans,
    options: ScoreOptions,
    spelling: Spelling | None,
) -> Floats:
    """Return log probabilities with those of unknown tokens as the user wishes."""
    if options.unk_penalty is not None:
        return np.where(is_unknown, options.unk_penalty * LOG_OF_BASE[options.base], log_probs)
    if spelling is None:
        return log_probs
    spelled = log_probs.copy()
    tokens = spans.tokens()
    for place in np.flatnonzero(is_unknown).tolist():
        text, _ = tokens[spans.place_in_text(place)]
        if text != UNKNOWN:  # a benchmark's own <unk> has no spelling
            spelled[place] += spelling.log_prob(text)
    return spelled


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _scored_tokens(
    unit: Encoded,
    found: Found,
    log_probs: Floats,
    marks: tuple[Marks, Marks],
    spans: _Spans,
    tokenizer: Tokenizer,
) -> list[ScoredToken]:
    """Return the tokens in the order of the text, whichever way they were read; a closing boundary comes last.

    Args:
        marks: which targets are unknown, and which are counted.
    """
    is_unknown, is_counted = marks
    names = tokenizer.vocabulary.tokens
    spelled = list(spans.tokens())
    if unit.is_closed:
        spelled.append((names[tokenizer.vocabulary.boundary_id], len(unit.text)))
    tokens = []
    for number, (text, start) in enumerate(spelled):
        place = spans.place_in_text(number)
        is_scored = bool(is_counted[place])
        rank, entropy, reduction, alternatives = None, None, None, ()
        if is_scored and found.ranks is not None and found.entropies is not None:
            rank, entropy = int(found.ranks[place]), float(found.entropies[place])
            if place + 1 < len(found.entropies):
                reduction = max(0.0, entropy - float(found.entropies[place + 1]))
        if is_scored and found.top_ids is not None and found.top_log_probs is not None:
            alternatives = tuple(  # type: ignore[assignment]
                (names[id], value)
                for id, value in zip(found.top_ids[place].tolist(), found.top_log_probs[place].tolist(), strict=True)
            )
        tokens.append(
            ScoredToken(
                token=UNKNOWN if is_unknown[place] and not text else text,
                id=int(unit.targets[place]),
                start=unit.start + start,
                log_prob_nats=float(log_probs[place]) if is_scored else None,
                is_unknown=bool(is_unknown[place]),
                rank=rank,
                entropy_nats=entropy,
                entropy_reduction_nats=reduction,
                alternatives=alternatives,
            )
        )
    return tokens
