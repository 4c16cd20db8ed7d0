"""From a unit's log probabilities to its score: which tokens count, unknown tokens, and a record of each token."""

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
class EncodedUnit:
    """A unit as a model reads it: contexts from the opening boundary on, and targets up to the closing one."""

    number: int
    text: str
    context: Ids
    targets: Ids
    is_backward: bool
    num_unscored: int
    is_closed: bool
    start: int = 0


@dataclass
class TokenResults:
    """Results for one unit's targets (N,): log probabilities, and the other arrays where they were requested."""

    log_probs: Floats
    ranks: Ids | None = None
    entropies: Floats | None = None
    top_ids: Ids | None = None
    top_log_probs: Floats | None = None

    def truncated(self, length: int) -> "TokenResults":
        """Return the results for the first targets only."""
        if length == len(self.log_probs):
            return self
        kept = (each if each is None else each[:length] for each in vars(self).values())
        return TokenResults(*kept)  # type: ignore[arg-type]

    @classmethod
    def of_stream(cls, chunks: Sequence["TokenResults"], length: int, stream: int) -> "TokenResults":
        """Join one stream's results from chunks (T, B, ...)."""

        def joined(values: list[npt.NDArray[np.float64] | None]) -> npt.NDArray[np.float64] | None:
            arrays = [value[:, stream] for value in values if value is not None]
            return np.concatenate(arrays)[:length] if arrays else None

        log_probs = joined([chunk.log_probs for chunk in chunks])
        assert log_probs is not None
        return cls(
            log_probs,
            joined([chunk.ranks for chunk in chunks]),  # type: ignore[misc, arg-type]
            joined([chunk.entropies for chunk in chunks]),
            joined([chunk.top_ids for chunk in chunks]),  # type: ignore[misc, arg-type]
            joined([chunk.top_log_probs for chunk in chunks]),
        )


def unit_score(
    unit: EncodedUnit,
    results: TokenResults,
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
    log_probs = results.log_probs
    if is_unknown.any():
        log_probs = _with_unknown(log_probs, is_unknown, spans, options, spelling)
    counted = np.arange(len(log_probs)) >= first
    num_unknown = int((is_unknown & counted).sum())
    omitted = [0] if first and unit.text else []
    if options.exclude_unk and num_unknown:
        counted &= ~is_unknown
        omitted = sorted({*omitted, *np.flatnonzero(is_unknown).tolist()})
    text = spans.text_without(omitted)
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
        num_chars=spans.num_chars(text, omitted) + closing,
        num_bytes=_num_bytes(text) - spans.num_omitted_bytes(omitted) + closing,
        num_words=len(text.split()) + closing,
        tokens=_scored_tokens(unit, results, log_probs, (is_unknown, counted), spans, tokenizer) if with_tokens else (),
    )


class _Spans:
    """The positions of a unit's tokens in its text, computed on first use."""

    def __init__(self, unit: EncodedUnit, tokenizer: Tokenizer) -> None:
        self._unit, self._tokenizer = unit, tokenizer
        self._tokens: list[tuple[str, int]] | None = None

    def tokens(self) -> list[tuple[str, int]]:
        """Return each token's spelling and start, in the order of the text."""
        if self._tokens is None:
            self._tokens = [(token.text, token.start) for token in self._tokenizer.tokenize(self._unit.text)]
        return self._tokens

    def position_in_text(self, position: int) -> int:
        """Return the index in the text of the token that was read at a position."""
        num_tokens = len(self._unit.targets) - int(self._unit.is_closed)
        return num_tokens - 1 - position if self._unit.is_backward and position < num_tokens else position

    def text_without(self, positions: Sequence[int]) -> str:
        """Return the text without some tokens, those of bytes excepted: part of a character cannot be left out."""
        text = self._unit.text
        if not positions or self._tokenizer.kind == "byte":
            return text
        tokens = self.tokens()
        if not tokens:  # white space that is no token of these words
            return ""
        starts = [*(start for _, start in tokens), len(text)]
        kept, last = [], 0
        for number in sorted(self.position_in_text(position) for position in positions):
            kept.append(text[last : starts[number]])
            last = starts[number + 1]
        return "".join([*kept, text[last:]])

    def num_chars(self, text: str, positions: Sequence[int]) -> int:
        """Return the characters of what `text_without` left; an unscored byte of a longer character takes none away."""
        if not positions or self._tokenizer.kind != "byte":
            return len(text)
        is_whole_char = [_num_bytes(text[-1 if self._unit.is_backward else 0]) == 1 for _ in positions]
        return len(text) - sum(is_whole_char)

    def num_omitted_bytes(self, positions: Sequence[int]) -> int:
        """Return the bytes that are left out though their text is not."""
        return len(positions) if self._tokenizer.kind == "byte" else 0


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
    for position in np.flatnonzero(is_unknown).tolist():
        text, _ = tokens[spans.position_in_text(position)]
        if text != UNKNOWN:  # a benchmark's own <unk> has no spelling
            spelled[position] += spelling.log_prob(text)
    return spelled


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _scored_tokens(
    unit: EncodedUnit,
    results: TokenResults,
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
        position = spans.position_in_text(number)
        is_scored = bool(is_counted[position])
        rank, entropy, reduction, alternatives = None, None, None, ()
        if is_scored and results.ranks is not None and results.entropies is not None:
            rank, entropy = int(results.ranks[position]), float(results.entropies[position])
            if position + 1 < len(results.entropies):
                reduction = max(0.0, entropy - float(results.entropies[position + 1]))
        if is_scored and results.top_ids is not None and results.top_log_probs is not None:
            alternatives = tuple(  # type: ignore[assignment]
                (names[id], value)
                for id, value in zip(
                    results.top_ids[position].tolist(), results.top_log_probs[position].tolist(), strict=True
                )
            )
        tokens.append(
            ScoredToken(
                token=UNKNOWN if is_unknown[position] and not text else text,
                id=int(unit.targets[position]),
                start=unit.start + start,
                log_prob_nats=float(log_probs[position]) if is_scored else None,
                is_unknown=bool(is_unknown[position]),
                rank=rank,
                entropy_nats=entropy,
                entropy_reduction_nats=reduction,
                alternatives=alternatives,
            )
        )
    return tokens
