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
from charnn.scoring.token_scores import TokenColumns, TokenScores, spelled_tokens
from charnn.text.bins import KIND
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

    def of_part(self, part: slice) -> "TokenResults":
        """Return the results for some consecutive targets."""
        return TokenResults(*(each if each is None else each[part] for each in vars(self).values()))  # type: ignore[arg-type]

    def of_length(self, length: int) -> "TokenResults":
        """Return arrays for the results of this many targets, which are not filled yet."""
        arrays = (
            each if each is None else np.empty((length, *each.shape[1:]), each.dtype) for each in vars(self).values()
        )
        return TokenResults(*arrays)  # type: ignore[arg-type]

    def fill(self, first: int, part: "TokenResults") -> None:
        """Copy the results for some targets to their place."""
        for own, values in zip(vars(self).values(), vars(part).values(), strict=True):
            if own is not None:
                own[first : first + len(values)] = values

    def repeated(self, num_streams: int) -> "TokenResults":
        """Return the results of one stream (T, 1, ...) for each of B streams."""
        arrays = (each if each is None else np.repeat(each, num_streams, axis=1) for each in vars(self).values())
        return TokenResults(*arrays)  # type: ignore[arg-type]

    def of_stream(self, stream: int, length: int) -> "TokenResults":
        """Return one stream's results, from those of a batch (T, B, ...)."""
        arrays = (each if each is None else np.ascontiguousarray(each[:length, stream]) for each in vars(self).values())
        return TokenResults(*arrays)  # type: ignore[arg-type]


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
    text = "" if tokenizer.kind == KIND else spans.text_without(omitted)  # numbers stand for no characters
    closing = int(unit.is_closed and first < len(unit.targets) and tokenizer.kind != KIND)
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
        tokens=_scored_tokens(unit, results, TokenColumns(unit.targets, log_probs, is_unknown, counted), tokenizer)
        if with_tokens
        else (),
    )


class _Spans:
    """The positions of a unit's tokens in its text, computed on first use."""

    def __init__(self, unit: EncodedUnit, tokenizer: Tokenizer) -> None:
        self._unit, self._tokenizer = unit, tokenizer

    def starts(self) -> Ids:
        """Return the start of each token, in the order of the text."""
        return np.fromiter((start for _, start in spelled_tokens(self._tokenizer, self._unit.text)), dtype=np.int64)

    def spellings(self, positions: Ids) -> dict[int, str]:
        """Return the spellings of the tokens that were read at some positions, by position."""
        wanted = {self.position_in_text(position): position for position in positions.tolist()}
        tokens = enumerate(spelled_tokens(self._tokenizer, self._unit.text))
        return {wanted[number]: text for number, (text, _) in tokens if number in wanted}

    def position_in_text(self, position: int) -> int:
        """Return the index in the text of the token that was read at a position."""
        num_tokens = len(self._unit.targets) - int(self._unit.is_closed)
        return num_tokens - 1 - position if self._unit.is_backward and position < num_tokens else position

    def text_without(self, positions: Sequence[int]) -> str:
        """Return the text without some tokens, those of bytes excepted: part of a character cannot be left out."""
        text = self._unit.text
        if not positions or self._tokenizer.kind == "byte":
            return text
        starts = [*self.starts().tolist(), len(text)]
        if len(starts) == 1:  # white space that is no token of these words
            return ""
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
    for position, text in spans.spellings(np.flatnonzero(is_unknown)).items():
        if text != UNKNOWN:  # a benchmark's own <unk> has no spelling
            spelled[position] += spelling.log_prob(text)
    return spelled


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _scored_tokens(
    unit: EncodedUnit, results: TokenResults, columns: TokenColumns, tokenizer: Tokenizer
) -> Sequence[ScoredToken]:
    columns = columns._replace(
        ranks=results.ranks,
        entropies=results.entropies,
        top_ids=results.top_ids,
        top_log_probs=results.top_log_probs,
    )
    return TokenScores(
        unit.text, unit.start, columns, tokenizer, is_backward=unit.is_backward, is_closed=unit.is_closed
    )
