"""Scores of DNA: the mean over both strands, and bits per base."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from charnn.config import ScoreOptions
from charnn.errors import OptionError
from charnn.files import JsonObject
from charnn.scoring.scores import Score
from charnn.scoring.totals import Totals
from charnn.storage.model_directory import Model, config_if_readable
from charnn.text.tokenizers import Tokenizer


def scores_strands(models: Sequence[Model], options: ScoreOptions) -> bool:
    """Return whether models were trained on both strands of DNA (`--reverse-complement`), so that both are scored.

    Raises:
        OptionError: for options that have a single strand only.
    """
    if models[0].tokenizer.fasta is None or options.is_running:
        return False
    configs = map(config_if_readable, models)
    if not all(config is not None and config.asked.text.reverse_complement for config in configs):
        return False
    for flag, is_set in {
        "--state carry": options.state == "carry",
        **options.adaptations,
        "--no-bos": not options.bos,
    }.items():
        if is_set:
            raise OptionError(
                f"{flag}: found {models[0].path}, which scores both strands of each record; score one with --unit stream"
            )
    return True


def mean_of_strands(given: Score, other: Score) -> Score:
    """Return a unit's score by the mean of the probabilities of its two strands; its tokens are those of the given one.

    Each sequence is the other strand of exactly one, so that the probabilities of all sequences still sum to 1.
    """
    log_prob = float(_log_mean(given.log_prob_nats, other.log_prob_nats))
    weights = [0.5 * math.exp(score.log_prob_nats - log_prob) for score in (given, other)]
    unknown = weights[0] * given.unknown_log_prob_nats + weights[1] * other.unknown_log_prob_nats
    return replace(given, log_prob_nats=log_prob, unknown_log_prob_nats=unknown)


def _log_mean(first: float, second: float) -> float:
    largest = max(first, second)
    if not math.isfinite(largest):
        return largest
    return largest + math.log((math.exp(first - largest) + math.exp(second - largest)) / 2)


def strands_in_words(is_mean: bool, options: ScoreOptions) -> str:
    """Return how both strands enter a score, to be added to its protocol; nothing if one is scored.

    Example:
        >>> charnn.api.strands_in_words(False, ScoreOptions())
        ''
    """
    if not is_mean:
        return ""
    tokens = ", but tokens are those of the given strand" if options.per_token or options.by_word else ""
    return f"; P is the mean over both strands{tokens} (--unit stream: the given strand)"


@dataclass(frozen=True)
class InLetters:
    """The totals over sequences, by their letters.

    Args:
        letter: base or residue; empty for other texts.
        number: of them, without the line ends that separate records.
        bits: of all tokens, those line ends too.
    """

    letter: str = ""
    number: int = 0
    bits: float = 0.0

    def in_words(self) -> str:
        """Return the bits per letter, to be added to a protocol; nothing for other texts."""
        if not self.letter or not self.number:
            return ""
        return f"; bits per {self.letter} {self.bits / self.number:.4f}, over {self.number:,} {self.letter}s"

    def to_dict(self) -> JsonObject:
        """Return the figures by name."""
        if not self.letter:
            return {}
        value = self.bits / self.number if self.number else math.nan
        return {f"num_{self.letter}s": self.number, f"bits_per_{self.letter}": value}


def in_letters(totals: Totals, tokenizer: Tokenizer, options: ScoreOptions) -> InLetters:
    """Return the totals of a model of sequences by their letters: what ends a record is no base, but costs bits.

    A text most of whose letters are unknown is not one of sequences, and has none.

    Example:
        >>> charnn.api.in_letters(charnn.api.Totals(), model.tokenizer, ScoreOptions()).to_dict()
        {}
    """
    num_tokens = totals.score.num_tokens + totals.score.num_excluded
    if tokenizer.fasta is None or totals.score.num_unknown > num_tokens / 2:
        return InLetters()
    num_ends = totals.num_line_ends + (totals.num_units if options.closes else 0)
    bits = -totals.score.log_prob_nats / math.log(2)
    return InLetters(tokenizer.fasta.letter, totals.score.num_chars - num_ends, bits)
