"""How probable a text is: the log probability of each token of each unit, summed with its counts."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.config import ScoreOptions
from charnn.ngrams.mixture import Mixture
from charnn.runtime.engine import Engine, EngineState, target_log_probs
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import UNKNOWN

LINES_AT_ONCE = 2048
PLACES_AT_ONCE = 8192
LONGEST_CHUNK = 256
MOST_LOGITS = 1 << 24
"""The most logits computed at once (64 MiB)."""


@dataclass(frozen=True)
class ScoredToken:
    """A token and its log probability in nats, None where it was not scored."""

    token: str
    id: int
    log_prob_nats: float | None
    is_unknown: bool


@dataclass(frozen=True)
class Score:
    """What a unit, or a whole text, was found to be worth.

    Args:
        number: of the unit in its text, from 1; 0 for a total.
        text: the unit, empty for a total.
        log_prob_nats: sum over its scored tokens.
        unknown_log_prob_nats: the part of the sum that unknown tokens have.
        num_tokens: tokens scored, a closing boundary included.
        num_unknown: of these, unknown ones.
        num_chars, num_bytes: what the scored tokens stand for, a boundary being one of each (a line end).
        tokens: each token, where asked for.
    """

    number: int = 0
    text: str = ""
    log_prob_nats: float = 0.0
    unknown_log_prob_nats: float = 0.0
    num_tokens: int = 0
    num_unknown: int = 0
    num_chars: int = 0
    num_bytes: int = 0
    tokens: Sequence[ScoredToken] = field(default=(), repr=False)

    def __add__(self, other: "Score") -> "Score":
        return Score(
            log_prob_nats=self.log_prob_nats + other.log_prob_nats,
            unknown_log_prob_nats=self.unknown_log_prob_nats + other.unknown_log_prob_nats,
            num_tokens=self.num_tokens + other.num_tokens,
            num_unknown=self.num_unknown + other.num_unknown,
            num_chars=self.num_chars + other.num_chars,
            num_bytes=self.num_bytes + other.num_bytes,
        )

    @property
    def perplexity(self) -> float:
        """exp of the mean loss over all tokens; NaN over none."""
        return _exp_mean(-self.log_prob_nats, self.num_tokens)

    @property
    def perplexity_excluding_unknown(self) -> float:
        """The same with neither the log probability nor the count of unknown tokens."""
        return _exp_mean(self.unknown_log_prob_nats - self.log_prob_nats, self.num_tokens - self.num_unknown)

    def bits_per(self, count: int) -> float:
        """Return the loss in bits over a count of tokens, characters or bytes; NaN over none."""
        return -self.log_prob_nats / math.log(2) / count if count else math.nan


def _exp_mean(nats: float, count: int) -> float:
    if not count:
        return math.nan
    return math.exp(nats / count) if nats / count < 700 else math.inf


@dataclass
class _Encoded:
    """A unit on its way through the engine: its ids as they are read, after the boundary and up to it."""

    number: int
    text: str
    context: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    is_backward: bool


def score_units(
    engine: Engine,
    tokenizer: Tokenizer,
    units: Iterable[str],
    options: ScoreOptions,
    mixture: Mixture | None = None,
) -> Iterator[Score]:
    """Score units one by one, each from an empty memory.

    Units are read side by side, in batches of about one length out of a window, and given in their own order.

    Args:
        units: texts without their closing line ends; a final line end that is part of a stream stays.
        options: which tokens count, and whether to give each.
        mixture: the n-gram model to mix the network with.

    Yields:
        One score a unit.
    """
    numbered = enumerate(units, start=1)
    while window := list(islice(numbered, LINES_AT_ONCE)):
        encoded = [_encode(number, text, tokenizer, options, engine.is_backward) for number, text in window]
        by_length = sorted(range(len(encoded)), key=lambda index: len(encoded[index].targets))
        scores: dict[int, Score] = {}
        for batch in _batches(by_length, encoded):
            log_probs = _log_probs(engine, [encoded[index] for index in batch], mixture)
            for index, values in zip(batch, log_probs, strict=True):
                scores[index] = _summed(encoded[index], values, tokenizer, options)
        yield from (scores[index] for index in range(len(encoded)))


def _encode(number: int, text: str, tokenizer: Tokenizer, options: ScoreOptions, is_backward: bool) -> _Encoded:
    ids = tokenizer.encode(text)
    ids = ids[::-1] if is_backward else ids
    boundary = [tokenizer.vocabulary.boundary_id]
    closing = boundary if options.eos and options.unit != "stream" else []
    context, targets = np.concatenate([boundary, ids]), np.concatenate([ids, closing]).astype(np.int64)
    return _Encoded(number, text, context, targets, is_backward)


def _batches(by_length: list[int], encoded: list[_Encoded]) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in by_length:
        if batch and (len(batch) + 1) * len(encoded[index].context) > PLACES_AT_ONCE:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _log_probs(engine: Engine, units: list[_Encoded], mixture: Mixture | None) -> list[npt.NDArray[np.float64]]:
    """Return each unit's log probabilities in nats, one a target. Padding comes last, where nothing depends on it."""
    longest = max(len(unit.targets) for unit in units)
    contexts = np.zeros((longest, len(units)), dtype=np.int64)
    targets = np.zeros((longest, len(units)), dtype=np.int64)
    for column, unit in enumerate(units):
        length = len(unit.targets)
        contexts[:length, column] = unit.context[:length]
        targets[:length, column] = unit.targets
    found = np.empty((longest, len(units)), dtype=np.float64)
    state: EngineState = engine.initial_state(len(units))
    affordable = MOST_LOGITS // (len(units) * engine.architecture.vocab_size)
    length = min(max(affordable, 1), LONGEST_CHUNK)
    for first in range(0, longest, length):
        chunk = slice(first, min(first + length, longest))
        outputs, state = engine.forward(contexts[chunk], state)
        found[chunk] = target_log_probs(engine.logits(outputs), targets[chunk])
    if mixture is not None:
        found = mixture.log_probs(found, contexts, targets)
    return [found[: len(unit.targets), column] for column, unit in enumerate(units)]


def _summed(unit: _Encoded, log_probs: npt.NDArray[np.float64], tokenizer: Tokenizer, options: ScoreOptions) -> Score:
    """Add up a unit's scored tokens."""
    first = 0 if options.bos else min(1, len(unit.targets))
    closed = options.eos and options.unit != "stream"
    unknown_id = tokenizer.vocabulary.unknown_id
    is_unknown = np.zeros(len(log_probs), dtype=bool) if unknown_id is None else unit.targets == unknown_id
    skipped = _size_of_first(tokenizer, unit) if first and unit.text else (0, 0)
    closing = int(closed and first < len(unit.targets))
    return Score(
        number=unit.number,
        text=unit.text,
        log_prob_nats=float(log_probs[first:].sum()),
        unknown_log_prob_nats=float(log_probs[first:][is_unknown[first:]].sum()),
        num_tokens=len(log_probs) - first,
        num_unknown=int(is_unknown[first:].sum()),
        num_chars=len(unit.text) - skipped[0] + closing,
        num_bytes=_num_bytes(unit.text) - skipped[1] + closing,
        tokens=_scored_tokens(unit, log_probs, is_unknown, first, tokenizer) if options.per_token else (),
    )


def _size_of_first(tokenizer: Tokenizer, unit: _Encoded) -> tuple[int, int]:
    """Return how many characters and bytes the token read first takes up.

    A byte of a longer character is one byte, and of its characters none.
    """
    text = unit.text
    if tokenizer.kind == "byte":
        return int(_num_bytes(text[-1 if unit.is_backward else 0]) == 1), 1
    starts = [token.start for token in tokenizer.tokenize(text)] or [0]
    first = text[starts[-1] :] if unit.is_backward else text[: [*starts, len(text)][1]]
    return len(first), _num_bytes(first)


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _scored_tokens(
    unit: _Encoded,
    log_probs: npt.NDArray[np.float64],
    is_unknown: npt.NDArray[np.bool_],
    first: int,
    tokenizer: Tokenizer,
) -> list[ScoredToken]:
    """Return the tokens in the order of the text, whichever way they were read; a closing boundary comes last."""
    spellings: list[Any] = [token.text for token in tokenizer.tokenize(unit.text)]
    num_tokens = len(spellings)
    spellings += [tokenizer.vocabulary.tokens[tokenizer.vocabulary.boundary_id]] * (len(log_probs) - num_tokens)
    places = list(range(len(log_probs)))
    if unit.is_backward:
        places[:num_tokens] = places[:num_tokens][::-1]
    return [
        ScoredToken(
            token=UNKNOWN if is_unknown[place] and not spelling else spelling,
            id=int(unit.targets[place]),
            log_prob_nats=None if place < first else float(log_probs[place]),
            is_unknown=bool(is_unknown[place]),
        )
        for spelling, place in zip(spellings, places, strict=True)
    ]


def averaged(scores: tuple[Score, ...]) -> Score:
    """Return one unit's score as the mean of log probabilities that several models give it.

    Of a forward and a backward model it is the logarithm of the geometric mean of two probabilities: a judgement, not a
    distribution.
    """
    first, share = scores[0], 1 / len(scores)

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) * share if len(known) == len(values) else None

    tokens = [
        replace(same[0], log_prob_nats=mean([token.log_prob_nats for token in same]))
        for same in zip(*(score.tokens for score in scores), strict=True)
    ]
    return replace(
        first,
        log_prob_nats=sum(score.log_prob_nats for score in scores) * share,
        unknown_log_prob_nats=sum(score.unknown_log_prob_nats for score in scores) * share,
        tokens=tokens,
    )
