"""How probable a text is: the log probability of each token of each unit, summed with its counts."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
    """A unit on its way through the engine: its ids between boundaries, and which of them are scored."""

    number: int
    text: str
    context: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]


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
        encoded = [_encode(number, text, tokenizer, options) for number, text in window]
        by_length = sorted(range(len(encoded)), key=lambda index: len(encoded[index].targets))
        scores: dict[int, Score] = {}
        for batch in _batches(by_length, encoded):
            log_probs = _log_probs(engine, [encoded[index] for index in batch], mixture)
            for index, values in zip(batch, log_probs, strict=True):
                scores[index] = _summed(encoded[index], values, tokenizer, options)
        yield from (scores[index] for index in range(len(encoded)))


def _encode(number: int, text: str, tokenizer: Tokenizer, options: ScoreOptions) -> _Encoded:
    ids = tokenizer.encode(text)
    boundary = [tokenizer.vocabulary.boundary_id]
    closing = boundary if options.eos and options.unit != "stream" else []
    return _Encoded(number, text, np.concatenate([boundary, ids]), np.concatenate([ids, closing]).astype(np.int64))


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
    skipped = _size_of_first(tokenizer, unit.text) if first and unit.text else (0, 0)
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


def _size_of_first(tokenizer: Tokenizer, text: str) -> tuple[int, int]:
    """Return how many characters and bytes the first token takes up; the byte that begins a longer character, none and one."""
    if tokenizer.kind == "byte":
        return int(_num_bytes(text[0]) == 1), 1
    starts = [token.start for token in tokenizer.tokenize(text)]
    first = text[: starts[1]] if len(starts) > 1 else text
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
    spellings: list[Any] = [token.text for token in tokenizer.tokenize(unit.text)]
    spellings += [tokenizer.vocabulary.tokens[tokenizer.vocabulary.boundary_id]] * (len(log_probs) - len(spellings))
    return [
        ScoredToken(
            token=UNKNOWN if unknown and not spelling else spelling,
            id=int(id),
            log_prob_nats=None if place < first else float(value),
            is_unknown=bool(unknown),
        )
        for place, (spelling, id, value, unknown) in enumerate(
            zip(spellings, unit.targets, log_probs, is_unknown, strict=True)
        )
    ]
