"""Scores in the formats of four tools of the field, to the letter.

KenLM's `query`, SRILM's `ngram -ppl -debug 2`, lm-zoo's `get-surprisals` and neural-complexity. Where one of these separates
columns by white space, a token's own is made visible (see `visible_token`).
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator

from charnn.config import ScoreOptions
from charnn.scoring.formats import NOWHERE, format_number, in_base, maybe_in_base, visible_token, words_of
from charnn.scoring.scores import Score
from charnn.scoring.words import ScoredWord, entropy_reduction, with_following
from charnn.text.located import Origin
from charnn.text.vocabulary import UNKNOWN

LMZOO_COLUMNS = ("sentence_id", "token_id", "token", "surprisal")
NEURAL_COMPLEXITY_COLUMNS = ("word", "sentid", "sentpos", "wlen", "surp", "entropy", "entred")
BEGIN, END = "<s>", "</s>"


def _names(score: Score) -> list[str]:
    """Return a unit's tokens as other tools want them, the closing boundary as </s>."""
    return [*(visible_token(token.token) for token in score.tokens[:-1]), END]


class Kenlm:
    """KenLM's `query`: `word=ID NGRAMLEN LOG10P` for each word, then `Total:`; a summary last.

    The length of an n-gram is the number of tokens of context, the opening boundary included; with the hidden state carried,
    those of earlier units too.
    """

    def __init__(self, options: ScoreOptions) -> None:
        self._carries, self._num_before = options.state == "carry", 0

    def begin(self) -> Iterator[str]:
        """See `Format`."""
        yield from ()

    def lines(self, score: Score, origin: Origin = NOWHERE) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        fields = [
            f"{name}={token.id} {length} {format_number(in_base(token.log_prob_nats or 0.0, '10'))}"
            for length, (name, token) in enumerate(
                zip(_names(score), score.tokens, strict=True), start=1 + self._num_before
            )
        ]
        self._num_before += len(score.tokens) if self._carries else 0
        total = format_number(in_base(score.log_prob_nats, "10"))
        yield "\t".join([*fields, f"Total: {total} OOV: {score.num_unknown}"])

    def end(self, total: Score, num_units: int) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        yield f"Perplexity including OOVs:\t{format_number(total.perplexity)}"
        yield f"Perplexity excluding OOVs:\t{format_number(total.perplexity_excluding_unknown)}"
        yield f"OOVs:\t{total.num_unknown}"
        yield f"Tokens:\t{total.num_tokens}"


class Srilm:
    """SRILM's `ngram -ppl FILE -debug 2`; unknown words have probability 0 and count as OOVs, unless they are spelled.

    Args:
        name: of the file.
    """

    def __init__(self, options: ScoreOptions, name: str) -> None:
        self._name = name
        self._knows_all = options.spell or options.unk_penalty is not None

    def begin(self) -> Iterator[str]:
        """See `Format`."""
        yield from ()

    def lines(self, score: Score, origin: Origin = NOWHERE) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        names = _names(score)
        yield " ".join(names[:-1])
        before = BEGIN
        for number, (name, token) in enumerate(zip(names, score.tokens, strict=True)):
            context = f"{before} ...)" if number else f"{before} )"
            is_oov = token.is_unknown and not self._knows_all
            nats = token.log_prob_nats or 0.0
            figures = "[OOV] 0 [ -inf ]" if is_oov else f"[RNN] {math.exp(nats):g} [ {in_base(nats, '10'):g} ]"
            shown = UNKNOWN if is_oov else name
            yield f"\tp( {shown} | {context} \t= {figures}"
            before = shown
        yield from self._totals(score, 1)
        yield ""

    def _totals(self, score: Score, num_sentences: int) -> Iterator[str]:
        num_oovs = 0 if self._knows_all else score.num_unknown
        left_out = 0.0 if self._knows_all else score.unknown_log_prob_nats
        num_words = score.num_tokens - num_sentences
        yield srilm_counts(num_sentences, num_words, num_oovs)
        yield srilm_figures(in_base(score.log_prob_nats - left_out, "10"), num_sentences, num_words, num_oovs)

    def end(self, total: Score, num_units: int) -> Iterator[str]:
        """See `Format`."""
        counts, figures = self._totals(total, num_units)
        yield f"file {self._name}: {counts}"
        yield figures


def srilm_counts(num_sentences: int, num_words: int, num_oovs: int) -> str:
    """Return SRILM's line of counts."""
    return f"{num_sentences} sentences, {num_words} words, {num_oovs} OOVs"


def srilm_figures(log10_prob: float, num_sentences: int, num_words: int, num_oovs: int) -> str:
    """Return SRILM's line of figures: ppl counts the ends of sentences, ppl1 does not."""
    num_known = num_words - num_oovs

    def perplexity(count: int) -> str:
        if not count:
            return "undefined"
        exponent = -log10_prob / count
        return f"{10**exponent:g}" if exponent < 308 else "inf"

    ppl, ppl1 = perplexity(num_known + num_sentences), perplexity(num_known)
    return f"0 zeroprobs, logprob= {log10_prob:g} ppl= {ppl} ppl1= {ppl1}"


class _Columns:
    """Columns with a header, quoted as CSV is, so that pandas reads every token."""

    columns: tuple[str, ...]
    separator: str

    def __init__(self, options: ScoreOptions) -> None:
        self._options = options

    def begin(self) -> Iterator[str]:
        """See `Format`."""
        yield self.separator.join(self.columns)

    def lines(self, score: Score, origin: Origin = NOWHERE) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        for values in self.rows(score):
            cells = io.StringIO()
            csv.writer(cells, delimiter=self.separator, lineterminator="").writerow(
                [
                    "" if value is None else format_number(value) if isinstance(value, float) else value
                    for value in values
                ]
            )
            yield cells.getvalue()

    def rows(self, score: Score) -> Iterable[tuple[object, ...]]:
        """Yield the values of each token or word."""
        raise NotImplementedError

    def end(self, total: Score, num_units: int) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        yield from ()

    def _words(self, score: Score) -> list[ScoredWord]:
        """Return the words, or each token as one."""
        if self._options.by_word:
            return words_of(score, self._options)
        return [ScoredWord(token.token, token.start, token.start + len(token.token), [token]) for token in score.tokens]

    def _is_closing(self, score: Score, word: ScoredWord) -> bool:
        """Tell whether a word is nothing but a line's end."""
        return (
            self._options.closes
            and word.tokens[-1].start == score.start + len(score.text)
            and not score.text[word.start - score.start :].strip()
        )


class LmZoo(_Columns):
    """lm-zoo's `get-surprisals`: bits, both ids from 1."""

    columns, separator = LMZOO_COLUMNS, "\t"

    def rows(self, score: Score) -> Iterator[tuple[object, ...]]:
        """See `_Columns`."""
        for number, word in enumerate(self._words(score), start=1):
            name = END if self._is_closing(score, word) else visible_token(word.word)
            yield score.number, number, name, _surprisal_bits(word)


class NeuralComplexity(_Columns):
    """neural-complexity: bits, ids from 0, no line for a sentence's end.

    The entropy is of the distribution that the word is drawn from.
    """

    columns, separator = NEURAL_COMPLEXITY_COLUMNS, " "

    def rows(self, score: Score) -> Iterator[tuple[object, ...]]:
        """See `_Columns`."""
        for number, (word, following) in enumerate(with_following(self._words(score))):
            if self._is_closing(score, word):
                return
            entropy, reduction = word.tokens[0].entropy_nats, entropy_reduction(word, following)
            name = visible_token(word.word)
            figures = _surprisal_bits(word), maybe_in_base(entropy, "2"), maybe_in_base(reduction, "2")
            yield name, score.number - 1, number, len(word.word), *figures


def _surprisal_bits(word: ScoredWord) -> float | None:
    return None if word.log_prob_nats is None else -in_base(word.log_prob_nats, "2") + 0.0
