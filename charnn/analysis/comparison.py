"""Two models on one text: by how many bits they differ, whether that could be chance, and where.

Source: Bisani and Ney (2004), Bootstrap estimates for confidence intervals in ASR performance evaluation, for the paired
bootstrap: the same lines are drawn for both models; Künsch (1989) for drawing blocks where lines depend on each other.
"""

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from charnn.config import ComparisonOptions, ScoreOptions
from charnn.scoring.build import build_scorer
from charnn.scoring.scores import Score
from charnn.scoring.words import scored_words
from charnn.storage.model_directory import Model
from charnn.text.sources import empty_text_error
from charnn.text.units import read_units

Floats = npt.NDArray[np.float64]

MOST_BLOCKS = 2000
FEWEST_BLOCKS = 10
"""Fewer than this say nothing of chance."""
CONTEXT_CHARS = 30


@dataclass(frozen=True, order=True)
class TokenDifference:
    """A token, or a word where the vocabularies differ, to which the models give different probabilities.

    Args:
        gain_bits: by how much more probable the second model finds it.
        line: from 1.
        start: in the line, in characters.
        context: what stands before it.
        first_bits, second_bits: each model's surprisal.
    """

    gain_bits: float
    line: int
    start: int
    text: str = field(compare=False)
    context: str = field(compare=False)
    first_bits: float = field(compare=False)
    second_bits: float = field(compare=False)


@dataclass(frozen=True)
class Difference:
    """How two models differ, in bits for each character.

    Args:
        first, second: each model's bits.
        low, high: a 95 % interval of second - first; None where there are too few blocks to say.
        num_lines: of the text.
        tolerance: the smallest relative difference that is more than two seeds of one recipe may show.

    Example:
        >>> charnn.compare(charnn.load("runs/a"), charnn.load("runs/b"), "test.txt").to_dict()
    """

    first: float
    second: float
    low: float | None
    high: float | None
    num_lines: int
    tolerance: float

    @property
    def share(self) -> float:
        """The difference relative to the smaller value."""
        least = min(self.first, self.second)
        return abs(self.second - self.first) / least if least else 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, and the verdict."""
        return {**asdict(self), "is_clear": self.is_clear, "is_large": self.is_large}

    @property
    def is_clear(self) -> bool:
        """Whether it is significant: the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def is_large(self) -> bool:
        """Whether it is larger than the differences between seeds."""
        return self.share > self.tolerance


class Comparison:
    """Takes the scores of units by two models, and keeps what is needed of them.

    Args:
        same_vocabulary: whether tokens can be compared; words are compared where not.
        are_independent: whether lines have nothing to do with each other. Those of a running text do: they are drawn in
            blocks of as many lines as there are blocks.
        num_differences: the largest differences to keep, in each direction.
    """

    def __init__(self, *, same_vocabulary: bool, are_independent: bool, num_differences: int) -> None:
        self._same, self._are_independent, self._num_places = same_vocabulary, are_independent, num_differences
        self._bits: list[tuple[float, float, int]] = []
        self._better: list[TokenDifference] = []
        self._worse: list[TokenDifference] = []
        self.totals = (Score(), Score())

    def take(self, first: Score, second: Score, *, closes: tuple[bool, bool]) -> None:
        """Take one unit's two scores, with their tokens.

        Args:
            closes: whether each one's last token is the closing boundary.
        """
        self._bits.append((first.bits_per(1), second.bits_per(1), first.num_chars))
        self.totals = (self.totals[0] + first, self.totals[1] + second)
        if not self._num_places:
            return
        for difference in self._differences(first, second, closes):
            _push_bounded(self._better, difference, self._num_places)
            _push_bounded(self._worse, _negated(difference), self._num_places)

    def _differences(self, first: Score, second: Score, closes: tuple[bool, bool]) -> Iterable[TokenDifference]:
        if self._same:
            for one, other in zip(first.tokens, second.tokens, strict=True):
                if one.log_prob_nats is not None and other.log_prob_nats is not None:
                    yield _token_difference(first, one.token, one.start, one.log_prob_nats, other.log_prob_nats)
            return
        words = scored_words(first, spaces="before", is_closed=closes[0])
        others = {(word.start, word.end): word for word in scored_words(second, spaces="before", is_closed=closes[1])}
        for word in words:
            match = others.get((word.start, word.end))
            if match is not None and word.log_prob_nats is not None and match.log_prob_nats is not None:
                yield _token_difference(first, word.word, word.start, word.log_prob_nats, match.log_prob_nats)

    def largest_differences(self) -> tuple[list[TokenDifference], list[TokenDifference]]:
        """Return where the second model is better, and where it is worse, the largest differences first."""
        better = [difference for difference in sorted(self._better, reverse=True) if difference.gain_bits > 0]
        worse = [_negated(difference) for difference in sorted(self._worse, reverse=True) if difference.gain_bits > 0]
        return better, worse

    def difference(self, *, num_resamples: int, seed: int, tolerance: float) -> Difference:
        """Return the difference in bits per character, with an interval from a paired bootstrap.

        Args:
            num_resamples: draws of as many blocks as there are.
            tolerance: see `Difference`.
        """
        table = np.array(self._bits, dtype=np.float64).reshape(-1, 3)
        counts = table[:, 2]
        first, second = (float(table[:, column].sum() / counts.sum()) for column in (0, 1))
        num_blocks = len(table) if self._are_independent else max(math.isqrt(len(table)), 1)
        gains = np.stack((table[:, 1] - table[:, 0], counts), axis=1)
        blocks = np.array_split(gains, min(num_blocks, MOST_BLOCKS))
        low = high = None
        if len(blocks) >= FEWEST_BLOCKS:
            sums = np.array([block.sum(axis=0) for block in blocks])
            low, high = _interval(sums[:, 0], sums[:, 1], num_resamples, seed)
        return Difference(first, second, low, high, len(table), tolerance)


def compare_files(models: Sequence[Model], files: Sequence[str], options: ComparisonOptions) -> Comparison:
    """Return what two models make of the lines of some texts.

    Raises:
        TextError: where the texts are empty.

    Example:
        >>> models = [charnn.load("runs/a").models[0], charnn.load("runs/b").models[0]]
        >>> charnn.api.compare_files(models, ["test.txt"], ComparisonOptions()).largest_differences()
    """
    ways = [reading_of(model, options) for model in models]
    scorers = [build_scorer([model], way) for model, way in zip(models, ways, strict=True)]
    comparison = Comparison(
        same_vocabulary=have_same_vocabulary(models),
        are_independent=all(way.state == "reset" for way in ways),
        num_differences=options.top,
    )
    all_bytes = all(model.tokenizer.kind == "byte" for model in models)
    tokenizer = models[0].tokenizer if all_bytes else None
    lines = itertools.tee(read_units(files, tokenizer, unit="line", encoding=options.encoding))
    streams = [
        scorer.scores(units, way, with_tokens=True) for scorer, units, way in zip(scorers, lines, ways, strict=True)
    ]
    closes = (ways[0].closes, ways[1].closes)
    for first, second in zip(*streams, strict=True):
        comparison.take(first, second, closes=closes)
    if not comparison.totals[0].num_tokens:
        raise empty_text_error(files, "there is nothing to compare on")
    return comparison


def have_same_vocabulary(models: Sequence[Model]) -> bool:
    """Tell whether two models have one vocabulary, so that their tokens can be compared.

    Example:
        >>> charnn.api.have_same_vocabulary([charnn.load("runs/a").models[0], charnn.load("runs/b").models[0]])
    """
    return models[0].tokenizer_sha256 == models[1].tokenizer_sha256


def reading_of(model: Model, options: ComparisonOptions) -> ScoreOptions:
    """Return how a model reads lines: one of running text with all earlier ones as context, unless it reads backward."""
    carries = model.tokenizer.unit == "stream" and model.architecture.direction == "forward"
    state = options.state or ("carry" if carries else "reset")
    return ScoreOptions(
        state=state, mix_ngram=options.mix_ngram, spell=options.spell, encoding=options.encoding, unit="line"
    )


def _interval(gains: Floats, counts: Floats, num_resamples: int, seed: int) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentiles of sum(gains) / sum(counts) over draws with replacement."""
    generator = np.random.default_rng(seed)
    ratios = np.empty(num_resamples)
    for number in range(num_resamples):
        drawn = generator.integers(0, len(gains), len(gains))
        ratios[number] = gains[drawn].sum() / counts[drawn].sum()
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(low), float(high)


def _token_difference(unit: Score, text: str, start: int, first_nats: float, second_nats: float) -> TokenDifference:
    bits = [-nats / math.log(2) + 0.0 for nats in (first_nats, second_nats)]
    context = unit.text[max(0, start - CONTEXT_CHARS) : start]
    return TokenDifference(bits[0] - bits[1], unit.number, start, text, context, *bits)


def _negated(difference: TokenDifference) -> TokenDifference:
    """Return a difference with its sign changed, for the heap of the smallest ones."""
    return TokenDifference(
        -difference.gain_bits,
        difference.line,
        difference.start,
        difference.text,
        difference.context,
        difference.first_bits,
        difference.second_bits,
    )


def _push_bounded(heap: list[TokenDifference], difference: TokenDifference, most: int) -> None:
    if len(heap) < most:
        heapq.heappush(heap, difference)
    elif heap[0] < difference:
        heapq.heapreplace(heap, difference)
