"""Results of scoring: a unit's log probability, its counts and its tokens."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace

from charnn import notebook

LARGEST_EXPONENT = 700


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token and its values; None where it was not scored or they were not requested.

    Args:
        token: as it is spelled in the text.
        id: in the vocabulary.
        start: its position in the unit, or in the whole of a running text, in characters.
        log_prob_nats: of the token.
        is_unknown: whether the vocabulary lacks it.
        rank: 1 for the most probable token, 2 for the next.
        entropy_nats: of the distribution that it is drawn from.
        entropy_reduction_nats: that entropy less the one after the token, at least 0 (Hale 2006).
        alternatives: the most probable tokens and their log probabilities in nats.

    Example:
        >>> [(token.token, token.surprisal_bits) for token in model.score("The fox slept.").tokens]
    """

    token: str
    id: int
    start: int
    log_prob_nats: float | None
    is_unknown: bool
    rank: int | None = None
    entropy_nats: float | None = None
    entropy_reduction_nats: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()

    @property
    def surprisal_bits(self) -> float | None:
        """Its negative log probability in bits; None where it was not scored."""
        return None if self.log_prob_nats is None else -self.log_prob_nats / math.log(2) + 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, and the surprisal."""
        return {**asdict(self), "surprisal_bits": self.surprisal_bits}


@dataclass(frozen=True)
class Score:
    """The score of a unit or a whole text.

    Args:
        number: of the unit in its text, from 1; 0 for a total.
        text: the unit, empty for a total.
        start: characters of a running text before this segment of it.
        log_prob_nats: sum over its counted tokens.
        unknown_log_prob_nats: the part of the sum that unknown tokens have.
        num_tokens: tokens counted, a closing boundary included.
        num_unknown: unknown tokens in the text.
        num_excluded: of these, those that are not counted.
        num_chars, num_bytes, num_words: what the counted tokens stand for, a boundary being one of each (a line end); words are
            what white space separates.
        tokens: each token, where requested.

    Example:
        >>> model.score("The fox slept.").bits_per_char
    """

    number: int = 0
    text: str = ""
    start: int = 0
    log_prob_nats: float = 0.0
    unknown_log_prob_nats: float = 0.0
    num_tokens: int = 0
    num_unknown: int = 0
    num_excluded: int = 0
    num_chars: int = 0
    num_bytes: int = 0
    num_words: int = 0
    tokens: Sequence[ScoredToken] = field(default=(), repr=False)

    def __add__(self, other: "Score") -> "Score":
        return Score(
            log_prob_nats=self.log_prob_nats + other.log_prob_nats,
            unknown_log_prob_nats=self.unknown_log_prob_nats + other.unknown_log_prob_nats,
            num_tokens=self.num_tokens + other.num_tokens,
            num_unknown=self.num_unknown + other.num_unknown,
            num_excluded=self.num_excluded + other.num_excluded,
            num_chars=self.num_chars + other.num_chars,
            num_bytes=self.num_bytes + other.num_bytes,
            num_words=self.num_words + other.num_words,
        )

    @property
    def perplexity(self) -> float:
        """exp of the mean loss over all counted tokens; NaN over none."""
        return _exp_mean(-self.log_prob_nats, self.num_tokens)

    @property
    def perplexity_excluding_unknown(self) -> float:
        """The same with neither the log probability nor the count of unknown tokens."""
        num_known = self.num_tokens - (self.num_unknown - self.num_excluded)
        return _exp_mean(self.unknown_log_prob_nats - self.log_prob_nats, num_known)

    @property
    def bits_per_char(self) -> float:
        """The loss in bits over the characters that the counted tokens stand for; NaN over none."""
        return self.bits_per(self.num_chars)

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, perplexity and bits per character, the tokens as dictionaries.

        Example:
            >>> pandas.DataFrame(score.to_dict() for score in model.score(["The fox slept.", "The fox sleep."]))
        """
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "tokens"}
        figures = {"perplexity": self.perplexity, "bits_per_char": self.bits_per_char}
        return values | figures | {"tokens": [token.to_dict() for token in self.tokens]}

    def _repr_html_(self) -> str:
        """Return the tokens in colours, as a notebook shows them."""
        caption = (
            f"{self.log_prob_nats:.4f} nats, {self.num_tokens:,} tokens, perplexity {self.perplexity:.4f}, "
            f"{self.bits_per_char:.4f} bits per character"
        )
        return notebook.colored(self.tokens, caption, self.text, self.start)

    def bits_per(self, count: int) -> float:
        """Return the loss in bits over a count of tokens, characters, bytes or words; NaN over none."""
        return -self.log_prob_nats / math.log(2) / count if count else math.nan


def _exp_mean(nats: float, count: int) -> float:
    return perplexity(nats / count) if count else math.nan


def perplexity(nats_per_token: float) -> float:
    """Return the exponential of a mean loss; infinity if that is too large for a number.

    Example:
        >>> charnn.api.perplexity(1e6)
        inf
    """
    return math.exp(nats_per_token) if nats_per_token < LARGEST_EXPONENT else math.inf


def averaged(scores: tuple[Score, ...]) -> Score:
    """Return one unit's score as the mean of log probabilities that several models give it.

    Of a forward and a backward model it is the logarithm of the geometric mean of two probabilities: a score, not a
    distribution: of its tokens only the log probabilities are known.
    """
    first, weight = scores[0], 1 / len(scores)

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) * weight if len(known) == len(values) else None

    tokens = [
        replace(
            same[0],
            log_prob_nats=mean([token.log_prob_nats for token in same]),
            rank=None,
            entropy_nats=None,
            entropy_reduction_nats=None,
        )
        for same in zip(*(score.tokens for score in scores), strict=True)
    ]
    return replace(
        first,
        log_prob_nats=sum(score.log_prob_nats for score in scores) * weight,
        unknown_log_prob_nats=sum(score.unknown_log_prob_nats for score in scores) * weight,
        tokens=tokens,
    )
