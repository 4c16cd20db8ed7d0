"""Comparison of two models on a text: the difference in bits, its significance, and the tokens that differ most.

Source: Bisani and Ney (2004), Bootstrap estimates for confidence intervals in ASR performance evaluation, for the paired
bootstrap, which draws the same lines for both models; Künsch (1989) for the block bootstrap of dependent lines.
"""

import heapq
import itertools
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt

from charnn.config import ComparisonOptions, ScoreOptions
from charnn.errors import ModelError, TextError
from charnn.scoring.build import build_scorer
from charnn.scoring.preflight import report_unknown, units_to_score
from charnn.scoring.scores import Score
from charnn.scoring.words import scored_words
from charnn.storage.model_directory import Model
from charnn.text.bins import is_of_numbers
from charnn.text.fasta_sources import first_fasta
from charnn.text.reading import lines
from charnn.text.sources import empty_text_error, find_sources

Floats = npt.NDArray[np.float64]

MAX_BLOCKS = 2000
MIN_BLOCKS = 10
"""Minimum number of blocks for a confidence interval."""
CONTEXT_CHARS = 30
LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, order=True)
class TokenDifference:
    """The difference between two models at a token, or at a word if their vocabularies differ.

    Args:
        gain_bits: surprisal of the first model minus surprisal of the second.
        line: line number, from 1.
        start: position in the line, in characters.
        context: preceding text.
        first_bits, second_bits: surprisal of each model.
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
    """The difference between two models, in bits per character.

    Args:
        first, second: bits per character of each model.
        low, high: 95 % confidence interval of second - first; None if there are too few blocks.
        num_lines: number of lines of the text.
        tolerance: largest relative difference to expect between two seeds of one recipe.

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
        """Return the fields, `is_clear` and `is_large` by name."""
        return {**asdict(self), "is_clear": self.is_clear, "is_large": self.is_large}

    @property
    def is_clear(self) -> bool:
        """Whether the difference is significant: the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def is_large(self) -> bool:
        """Whether the difference exceeds the tolerance."""
        return self.share > self.tolerance


class Comparison:
    """Accumulates the scores of units by two models.

    Args:
        same_vocabulary: compare tokens; otherwise, words are compared.
        are_independent: whether lines are independent. The lines of a running text are not: they are drawn in blocks, about as
            many blocks as there are lines in each.
        num_differences: number of largest differences to keep, in each direction.
        divides: whether what is taken are segments of a running text, which are divided into their lines.
        of_records: whether the lines are records of FASTA.
        of_strands: whether a model scores both strands of such a record, which cannot be carried over to the next.
    """

    def __init__(
        self,
        *,
        same_vocabulary: bool,
        are_independent: bool,
        num_differences: int,
        divides: bool = False,
        of_records: bool = False,
        of_strands: bool = False,
    ) -> None:
        self._same, self._are_independent, self._num_differences = same_vocabulary, are_independent, num_differences
        self._divides, self._num_line_ends = divides, 0
        self.of_records, self.of_strands = of_records, of_strands
        self._bits: list[tuple[float, float, int, int]] = []
        self._better: list[TokenDifference] = []
        self._worse: list[TokenDifference] = []
        self.totals = (Score(), Score())

    def take(self, first: Score, second: Score, *, closes: tuple[bool, bool]) -> None:
        """Add the scores of a unit, or of a segment of a running text, by both models, with their tokens.

        Args:
            closes: for each model, whether the last token is the closing boundary.
        """
        self.totals = (self.totals[0] + first, self.totals[1] + second)
        if not self._divides:
            self._take_unit(first, second, closes)
            return
        number = self._num_line_ends + 1
        for one, other in zip(_lines_of(first, number), _lines_of(second, number), strict=True):
            self._take_unit(one, other, closes)
        self._num_line_ends += first.text.count("\n")

    def _take_unit(self, first: Score, second: Score, closes: tuple[bool, bool]) -> None:
        self._bits.append((first.bits_per(1), second.bits_per(1), first.num_chars, second.num_chars))
        if not self._num_differences:
            return
        for difference in self._differences(first, second, closes):
            _push_bounded(self._better, difference, self._num_differences)
            _push_bounded(self._worse, _negated(difference), self._num_differences)

    def _differences(self, first: Score, second: Score, closes: tuple[bool, bool]) -> Iterable[TokenDifference]:
        if self._same or self.of_records:  # a record is no sequence of words
            if self.of_records and len(first.tokens) != len(second.tokens):
                return
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
        """Return the tokens on which the second model is better, and those on which it is worse, largest differences first."""
        better = [difference for difference in sorted(self._better, reverse=True) if difference.gain_bits > 0]
        worse = [_negated(difference) for difference in sorted(self._worse, reverse=True) if difference.gain_bits > 0]
        return better, worse

    def difference(self, *, num_resamples: int, seed: int, tolerance: float) -> Difference:
        """Return the difference in bits per character, with a confidence interval from a paired bootstrap.

        Args:
            num_resamples: number of bootstrap resamples.
            tolerance: see `Difference`.
        """
        table = np.array(self._bits, dtype=np.float64).reshape(-1, 4)
        first, second = (float(table[:, column].sum() / table[:, column + 2].sum()) for column in (0, 1))
        num_blocks = len(table) if self._are_independent else max(math.isqrt(len(table)), 1)
        blocks = np.array_split(table, min(num_blocks, MAX_BLOCKS))
        low = high = None
        if len(blocks) >= MIN_BLOCKS:
            low, high = _interval(np.array([block.sum(axis=0) for block in blocks]), num_resamples, seed)
        return Difference(first, second, low, high, len(table), tolerance)


def compare_files(models: Sequence[Model], files: Sequence[str], options: ComparisonOptions) -> Comparison:
    """Compare two models on some texts.

    Raises:
        ModelError: for a model of numbers.
        TextError: if the texts are empty.

    Example:
        >>> models = [charnn.load("runs/a").models[0], charnn.load("runs/b").models[0]]
        >>> charnn.api.compare_files(models, ["test.txt"], ComparisonOptions()).largest_differences()
    """
    of_numbers = next((model for model in models if is_of_numbers(model.tokenizer)), None)
    if of_numbers is not None:
        raise ModelError(
            f"{of_numbers.path}: is a model of numbers, but a comparison is in bits per character; score the text with each "
            "model, and compare the bits per value: charnn score -m RUN FILE"
        )
    score_options = score_options_of(options)
    of_strands = [build_scorer([model], score_options) for model in models]
    scorers = [replace(scorer, scores_strands=False) for scorer in of_strands]
    texts, of_records = _texts_to_compare(models, files, score_options)
    comparison = Comparison(
        same_vocabulary=have_same_vocabulary(models),
        are_independent=options.unit != "stream" and options.state == "reset",
        num_differences=options.top,
        divides=options.unit == "stream",
        of_records=of_records,
        of_strands=any(scorer.scores_strands for scorer in of_strands),
    )
    streams = [
        scorer.scores(units, score_options, with_tokens=True) for scorer, units in zip(scorers, texts, strict=True)
    ]
    closes = (score_options.closes, score_options.closes)
    for first, second in zip(*streams, strict=True):
        comparison.take(first, second, closes=closes)
    if not comparison.totals[0].num_tokens:
        raise empty_text_error(files, "there is nothing to compare on")
    for model, total in zip(models, comparison.totals, strict=True):
        report_unknown(total, score_options, model.tokenizer, f"this text (tokenized by {model.path})")
    return comparison


def _texts_to_compare(
    models: Sequence[Model], files: Sequence[str], options: ScoreOptions
) -> tuple[Sequence[Iterator[str]], bool]:
    """Return the units that each model reads, and whether they are records of FASTA.

    Raises:
        ModelError: for FASTA if one of the models does not read it.
        TextError: for a pipe that would have to be read twice.
    """
    hows = [model.tokenizer.fasta for model in models]
    fasta = first_fasta(find_sources(files)) if any(hows) else None
    if fasta is not None and not all(hows):
        reading, other = (
            next(each for each in models if bool(each.tokenizer.fasta) is reads) for reads in (True, False)
        )
        raise ModelError(
            f"{other.path}: does not read FASTA, such as {fasta.name}, as {reading.path} does; score it with each model, and "
            "compare the bits per base: charnn score -m RUN FILE"
        )
    reads_apart = fasta is not None and len(set(hows)) > 1
    if reads_apart:
        pipe = next((source for source in find_sources(files) if source.stamp is None), None)
        if pipe is not None:
            raise TextError(
                f"{pipe.name}: found FASTA, which {models[0].path} and {models[1].path} read each in its own way, but a pipe "
                "can be read only once; write it to a file"
            )
        texts = [units_to_score([model], files, options, tokenizer=model.tokenizer) for model in models]
        if options.unit == "stream":
            texts = [(f"{line}\n" for line in lines(text)) for text in texts]
    else:
        all_bytes = all(model.tokenizer.kind == "byte" for model in models)
        tokenizer = models[0].tokenizer if all_bytes or all(hows) else None
        texts = list(itertools.tee(units_to_score(models, files, options, tokenizer=tokenizer)))
    if options.unit == "stream" and any(model.architecture.direction == "backward" for model in models):
        texts = [iter(["".join(text)]) for text in texts]  # a backward model reads a running text whole
    return texts, fasta is not None


def have_same_vocabulary(models: Sequence[Model]) -> bool:
    """Return whether two models have the same vocabulary, so that their tokens can be compared.

    Example:
        >>> charnn.api.have_same_vocabulary([charnn.load("runs/a").models[0], charnn.load("runs/b").models[0]])
    """
    return models[0].tokenizer_sha256 == models[1].tokenizer_sha256


def score_options_of(options: ComparisonOptions) -> ScoreOptions:
    """Return the options with which both models score the text.

    Example:
        >>> charnn.api.score_options_of(ComparisonOptions(unit="document")).unit
        'document'
    """
    return ScoreOptions(
        unit=options.unit,
        state=options.state,
        mix_ngram=options.mix_ngram,
        spell=options.spell,
        encoding=options.encoding,
    )


def _lines_of(segment: Score, first_number: int) -> Iterator[Score]:
    """Divide a segment of a running text into its lines, each with its line end.

    Args:
        first_number: number of the line in which the segment begins.
    """
    tokens = deque(segment.tokens)
    start = segment.start
    for number, line in enumerate(LINE.findall(segment.text), start=first_number):
        end = start + len(line)
        own = []
        while tokens and tokens[0].start < end:
            own.append(tokens.popleft())
        nats = sum(token.log_prob_nats or 0.0 for token in own)
        yield Score(number, line, start, log_prob_nats=nats, num_tokens=len(own), num_chars=len(line), tokens=own)
        start = end


def _interval(blocks: Floats, num_resamples: int, seed: int) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentiles of the difference over resamples with replacement.

    Args:
        blocks: of shape (blocks, 4): bits of the first and the second model, characters that each read.
    """
    generator = np.random.default_rng(seed)
    differences = np.empty(num_resamples)
    for number in range(num_resamples):
        first, second, first_chars, second_chars = blocks[generator.integers(0, len(blocks), len(blocks))].sum(axis=0)
        differences[number] = second / second_chars - first / first_chars
    low, high = np.percentile(differences, (2.5, 97.5))
    return float(low), float(high)


def _token_difference(unit: Score, text: str, start: int, first_nats: float, second_nats: float) -> TokenDifference:
    start -= unit.start
    bits = [-nats / math.log(2) + 0.0 for nats in (first_nats, second_nats)]
    context = unit.text[max(0, start - CONTEXT_CHARS) : start]
    return TokenDifference(bits[0] - bits[1], unit.number, start, text, context, *bits)


def _negated(difference: TokenDifference) -> TokenDifference:
    """Return a difference with its sign changed, for the heap of the smallest differences."""
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
