"""Scoring: units are encoded, read in batches of about one length, and summed in their own order."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from charnn.config import ScoreOptions
from charnn.config.scoring import LOG_OF_BASE
from charnn.ngrams.mixture import Mixture
from charnn.ngrams.spelling import Spelling
from charnn.runtime.engine import Engine
from charnn.scoring.estimators import Estimate, Estimator, Floats, MixedEstimator, NetworkEstimator, Reader
from charnn.scoring.scores import Score, ScoredToken
from charnn.scoring.workers import CancelledError, in_threads, one_by_one
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import UNKNOWN

Ids = npt.NDArray[np.int64]

NEVER = threading.Event()
"""Set by nobody."""
LINES_AT_ONCE = 2048
CHARS_AT_ONCE = 1 << 22
"""The lines, and the characters of them, among which batches of one length are sought."""
WIDEST_BATCH = 256
PLACES_A_BATCH = 1 << 20
MOST_PADDED = 2
"""Texts of a batch are not longer than this times the shortest, and a chunk."""
LONGEST_CHUNK, PLACES_A_CHUNK = 256, 4096
"""Tokens of each text, and of all texts of a batch together, that are read before anything is summed."""
MOST_LOGITS = 1 << 22
"""The most logits computed at once (16 MiB)."""
MOST_WHOLE = 1 << 20
"""The most where all of each distribution is wanted, in double precision."""


@dataclass
class _Encoded:
    """A unit on its way through a model: its ids as they are read, after the boundary and up to it."""

    number: int
    text: str
    context: Ids
    targets: Ids
    is_backward: bool
    num_unscored: int
    is_closed: bool


@dataclass
class _Found:
    """What was found of one unit's targets (N,): log probabilities, and the rest where a model was asked for it."""

    log_probs: Floats
    ranks: Ids | None = None
    entropies: Floats | None = None
    top_ids: Ids | None = None
    top_log_probs: Floats | None = None

    @classmethod
    def column(cls, parts: Sequence["_Found"], length: int, stream: int) -> "_Found":
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


def estimator_of(engine: Engine, tokenizer: Tokenizer, mixture: Mixture | None = None) -> Estimator:
    """Return a network as an estimator, with its n-gram model if one is given."""
    network = NetworkEstimator(engine)
    if mixture is None:
        return network
    boundary_id = None if tokenizer.unit == "stream" else tokenizer.vocabulary.boundary_id
    return MixedEstimator(network, mixture, boundary_id=boundary_id)


def score_units(
    estimator: Estimator,
    tokenizer: Tokenizer,
    units: Iterable[str],
    options: ScoreOptions,
    *,
    spelling: Spelling | None = None,
    with_tokens: bool = False,
) -> Iterator[Score]:
    """Score units one by one.

    Units are read side by side, in batches of about one length out of a window, and given in their own order; one after the
    other where the estimator learns from what it reads, or memory is carried from one to the next.

    Args:
        units: texts without their closing line ends.
        options: which tokens count, and what to give of each.
        spelling: what unknown tokens' spellings are worth, for `--spell`.
        with_tokens: give each token, even where the options do not need them.

    Yields:
        One score a unit.
    """
    with_tokens = with_tokens or options.needs_tokens
    for unit, found in _all_found(estimator, tokenizer, units, options):
        yield _summed(unit, found, tokenizer, options, spelling, with_tokens=with_tokens)


def token_log_probs(
    estimator: Estimator, tokenizer: Tokenizer, units: Iterable[str], options: ScoreOptions
) -> Iterator[Floats]:
    """Yield the log probabilities (N,) in nats of each unit's scored tokens, in the order in which they are read."""
    for unit, found in _all_found(estimator, tokenizer, units, options):
        yield found.log_probs[unit.num_unscored :]


def _all_found(
    estimator: Estimator, tokenizer: Tokenizer, units: Iterable[str], options: ScoreOptions
) -> Iterator[tuple[_Encoded, _Found]]:
    """Yield what is found of each unit, in order."""
    numbered = enumerate(units, start=1)
    if estimator.is_sequential or options.state == "carry":
        reader = estimator.start(1)
        for number, text in numbered:
            unit = _encode(number, text, tokenizer, options, estimator.is_backward)
            (found,) = _read(estimator, reader if options.state == "carry" else estimator.start(1), [unit], options)
            yield unit, found
        return
    yield from _found_in_batches(estimator, tokenizer, numbered, options)


def _found_in_batches(
    estimator: Estimator, tokenizer: Tokenizer, numbered: Iterator[tuple[int, str]], options: ScoreOptions
) -> Iterator[tuple[_Encoded, _Found]]:
    windows: deque[tuple[list[_Encoded], list[list[int]]]] = deque()

    def batches() -> Iterator[list[list[_Encoded]]]:
        """Yield the batches of each window, which joins those that are under way."""
        for window in _windows(numbered):
            encoded = [_encode(number, text, tokenizer, options, estimator.is_backward) for number, text in window]
            by_length = sorted(range(len(encoded)), key=lambda index: len(encoded[index].targets))
            places = list(_batches(by_length, encoded, estimator.vocab_size))
            windows.append((encoded, places))
            yield [[encoded[index] for index in batch] for batch in places]

    def read(batch: list[_Encoded], cancelled: threading.Event) -> list[_Found]:
        return _read(estimator, estimator.start(len(batch)), batch, options, cancelled)

    groups = in_threads(batches(), read) if estimator.runs_in_threads else one_by_one(batches(), read)
    for found_of_batches in groups:
        encoded, places = windows.popleft()
        results = dict(zip(chain(*places), chain(*found_of_batches), strict=True))
        yield from ((unit, results[index]) for index, unit in enumerate(encoded))


def score_stream(
    estimator: Estimator,
    tokenizer: Tokenizer,
    parts: Iterable[str],
    options: ScoreOptions,
    *,
    spelling: Spelling | None = None,
    with_tokens: bool = False,
) -> Iterator[Score]:
    """Score one running text of any length.

    Args:
        parts: the text in pieces that end at line ends; a backward model wants it in one.
        options, spelling, with_tokens: see `score_units`.

    Yields:
        One score a piece, which together are the text's.
    """
    reader, last_id, num_unscored = estimator.start(1), tokenizer.vocabulary.boundary_id, int(not options.bos)
    for text in parts:
        ids = tokenizer.encode(text)
        if not len(ids):
            continue
        ids = ids[::-1] if estimator.is_backward else ids
        context = np.concatenate(([last_id], ids[:-1]))
        unit = _Encoded(1, text, context, ids, estimator.is_backward, num_unscored, is_closed=False)
        (found,) = _read(estimator, reader, [unit], options)
        yield _summed(unit, found, tokenizer, options, spelling, with_tokens=with_tokens or options.needs_tokens)
        last_id, num_unscored = int(ids[-1]), 0


def _windows(numbered: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    window: list[tuple[int, str]] = []
    num_chars = 0
    for number, text in numbered:
        window.append((number, text))
        num_chars += len(text)
        if len(window) == LINES_AT_ONCE or num_chars >= CHARS_AT_ONCE:
            yield window
            window, num_chars = [], 0
    if window:
        yield window


def _encode(number: int, text: str, tokenizer: Tokenizer, options: ScoreOptions, is_backward: bool) -> _Encoded:
    ids = tokenizer.encode(text)
    ids = ids[::-1] if is_backward else ids
    boundary = [tokenizer.vocabulary.boundary_id]
    closing = boundary if options.closes else []
    targets = np.concatenate([ids, closing]).astype(np.int64)
    context = np.concatenate([boundary, ids]).astype(np.int64)[: len(targets)]
    num_unscored = 0 if options.bos else min(1, len(targets))
    return _Encoded(number, text, context, targets, is_backward, num_unscored, options.closes)


def _batches(by_length: list[int], encoded: list[_Encoded], vocab_size: int) -> Iterator[list[int]]:
    widest = min(WIDEST_BATCH, max(1, MOST_LOGITS // vocab_size))
    batch: list[int] = []
    for index in by_length:
        length = len(encoded[index].targets) + 1
        is_full = len(batch) == widest or (len(batch) + 1) * length > PLACES_A_BATCH
        if batch and (is_full or length > MOST_PADDED * len(encoded[batch[0]].targets) + LONGEST_CHUNK):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _read(
    estimator: Estimator,
    reader: Reader,
    units: list[_Encoded],
    options: ScoreOptions,
    cancelled: threading.Event = NEVER,
) -> list[_Found]:
    """Return what was found of each unit. Padding comes last, where nothing depends on it."""
    longest = max(len(unit.targets) for unit in units)
    contexts = np.zeros((longest, len(units)), dtype=np.int64)
    targets = np.zeros((longest, len(units)), dtype=np.int64)
    for column, unit in enumerate(units):
        length = len(unit.targets)
        contexts[:length, column] = unit.context
        targets[:length, column] = unit.targets
    parts: list[_Found] = [_Found(np.zeros((0, len(units))))]
    most = MOST_WHOLE if options.needs_distributions else MOST_LOGITS
    length = min(most // (len(units) * estimator.vocab_size), PLACES_A_CHUNK // len(units), LONGEST_CHUNK)
    length = max(1, length)
    for first in range(0, longest, length):
        chunk = slice(first, first + length)
        if cancelled.is_set():
            raise CancelledError
        estimate = reader.read(contexts[chunk], targets[chunk], whole=options.needs_distributions)
        parts.append(_looked_at(estimate, options.alternatives))
    return [_Found.column(parts, len(unit.targets), column) for column, unit in enumerate(units)]


def _looked_at(estimate: Estimate, num_alternatives: int) -> _Found:
    log_probs_TBV = estimate.log_probs_TBV
    if log_probs_TBV is None:
        return _Found(estimate.log_probs_TB)
    ranks_TB = 1 + (log_probs_TBV > estimate.log_probs_TB[..., None]).sum(axis=-1)
    probs_TBV = np.exp(log_probs_TBV)
    entropies_TB = -(probs_TBV * np.where(probs_TBV > 0, log_probs_TBV, 0.0)).sum(axis=-1)
    found = _Found(estimate.log_probs_TB, ranks_TB, entropies_TB)
    if num_alternatives:
        found.top_ids = np.argsort(-log_probs_TBV, axis=-1, kind="stable")[..., :num_alternatives]
        found.top_log_probs = np.take_along_axis(log_probs_TBV, found.top_ids, axis=-1)
    return found


def _summed(
    unit: _Encoded,
    found: _Found,
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
        log_prob_nats=float(log_probs[counted].sum()),
        unknown_log_prob_nats=float(log_probs[counted & is_unknown].sum()),
        num_tokens=int(counted.sum()),
        num_unknown=num_unknown,
        num_excluded=num_unknown if options.exclude_unk else 0,
        num_chars=spans.num_chars(text, left_out) + closing,
        num_bytes=_num_bytes(text) - spans.num_bytes_left_out(left_out) + closing,
        num_words=len(text.split()) + closing,
        tokens=_scored_tokens(unit, found, log_probs, is_unknown, spans, tokenizer) if with_tokens else (),
    )


class _Spans:
    """Where a unit's tokens stand in its text, found out only where somebody asks."""

    def __init__(self, unit: _Encoded, tokenizer: Tokenizer) -> None:
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
    is_unknown: npt.NDArray[np.bool_],
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
        spelled[place] += spelling.log_prob(tokens[spans.place_in_text(place)][0])
    return spelled


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _scored_tokens(
    unit: _Encoded,
    found: _Found,
    log_probs: Floats,
    is_unknown: npt.NDArray[np.bool_],
    spans: _Spans,
    tokenizer: Tokenizer,
) -> list[ScoredToken]:
    """Return the tokens in the order of the text, whichever way they were read; a closing boundary comes last."""
    names = tokenizer.vocabulary.tokens
    spelled = list(spans.tokens())
    if unit.is_closed:
        spelled.append((names[tokenizer.vocabulary.boundary_id], len(unit.text)))
    tokens = []
    for number, (text, start) in enumerate(spelled):
        place = spans.place_in_text(number)
        is_scored = place >= unit.num_unscored
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
                start=start,
                log_prob_nats=float(log_probs[place]) if is_scored else None,
                is_unknown=bool(is_unknown[place]),
                rank=rank,
                entropy_nats=entropy,
                entropy_reduction_nats=reduction,
                alternatives=alternatives,
            )
        )
    return tokens
