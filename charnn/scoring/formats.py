"""Scores as records and lines that other programs read: charnn's own, and those of four tools of the field.

KenLM's `query`, SRILM's `ngram -ppl -debug 2`, lm-zoo's `get-surprisals` and neural-complexity. Where one of these separates
columns by white space, a token's own is made visible: a space is U+2581, as SentencePiece writes it, any other `<0xNN>`.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from charnn.config import ScoreOptions
from charnn.config.scoring import LOG_OF_BASE
from charnn.scoring.scores import Score, ScoredToken
from charnn.scoring.words import ScoredWord, entropy_reduction, scored_words, with_following
from charnn.text.vocabulary import SPACE_MARK, UNKNOWN

TSV_COLUMNS = (
    "line",
    "log_prob",
    "log_base",
    "num_tokens",
    "num_unknown",
    "perplexity",
    "perplexity_excluding_unknown",
    "text",
)
TSV_TOKEN_COLUMNS = (
    "line",
    "position",
    "token",
    "id",
    "log_prob",
    "log_base",
    "unknown",
    "start",
    "rank",
    "entropy",
    "entropy_reduction",
)
TSV_WORD_COLUMNS = ("line", "position", "word", "start", "end", "num_tokens", "log_prob", "log_base", "unknown")
LMZOO_COLUMNS = ("sentence_id", "token_id", "token", "surprisal")
NEURAL_COMPLEXITY_COLUMNS = ("word", "sentid", "sentpos", "wlen", "surp", "entropy", "entred")
BEGIN, END = "<s>", "</s>"


def in_base(nats: float, base: str) -> float:
    """Return a natural logarithm in base e, 2 or 10."""
    return nats / LOG_OF_BASE[base]


def _maybe_in_base(nats: float | None, base: str) -> float | None:
    return None if nats is None else in_base(nats, base)


class Format(Protocol):
    """Writes scores as lines; JSON records are given as dictionaries, for the console to write."""

    def begin(self) -> Iterator[str]:
        """Yield what comes before all scores."""
        ...

    def lines(self, score: Score) -> Iterator[str | dict[str, Any]]:
        """Yield the lines of one unit."""
        ...

    def end(self, total: Score, num_units: int) -> Iterator[str]:
        """Yield what comes after them."""
        ...


class JsonLines:
    """One JSON record a unit."""

    def __init__(self, options: ScoreOptions) -> None:
        self._options = options

    def begin(self) -> Iterator[str]:
        """See `Format`."""
        yield from ()

    def lines(self, score: Score) -> Iterator[dict[str, Any]]:
        """See `Format`."""
        yield record(score, self._options)

    def end(self, total: Score, num_units: int) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        yield from ()


def record(score: Score, options: ScoreOptions) -> dict[str, Any]:
    """Return a unit's score as one JSON record."""
    base = options.base
    fields: dict[str, Any] = {
        "line": score.number,
        "log_prob": in_base(score.log_prob_nats, base),
        "log_base": base,
        "num_tokens": score.num_tokens,
        "num_unknown": score.num_unknown,
        "num_chars": score.num_chars,
        "num_bytes": score.num_bytes,
    }
    if options.per_token:
        fields["tokens"] = [_token_fields(token, options) for token in score.tokens]
    if options.by_word:
        fields["words"] = [
            {
                "word": word.word,
                "start": word.start,
                "end": word.end,
                "num_tokens": len(word.tokens),
                "log_prob": _maybe_in_base(word.log_prob_nats, base),
                "unknown": word.is_unknown,
            }
            for word in words_of(score, options)
        ]
    return fields


def _token_fields(token: ScoredToken, options: ScoreOptions) -> dict[str, Any]:
    base = options.base
    fields = {
        "token": token.token,
        "id": token.id,
        "log_prob": _maybe_in_base(token.log_prob_nats, base),
        "unknown": token.is_unknown,
        "start": token.start,
        "rank": token.rank,
        "entropy": _maybe_in_base(token.entropy_nats, base),
        "entropy_reduction": _maybe_in_base(token.entropy_reduction_nats, base),
    }
    if options.alternatives:
        fields["alternatives"] = [{"token": name, "log_prob": in_base(nats, base)} for name, nats in token.alternatives]
    return fields


def words_of(score: Score, options: ScoreOptions) -> list[ScoredWord]:
    """Return a unit's words as the options count white space."""
    return scored_words(score, spaces=options.spaces, is_closed=options.closes)


class TabSeparated:
    """charnn's own columns: one line a unit, a token or a word. A tab, a line end or a backslash in a text has a backslash."""

    def __init__(self, options: ScoreOptions) -> None:
        self._options = options

    def begin(self) -> Iterator[str]:
        """See `Format`."""
        if not self._options.per_token and not self._options.by_word:
            yield "\t".join(TSV_COLUMNS)
            return
        columns = TSV_TOKEN_COLUMNS if self._options.per_token else TSV_WORD_COLUMNS
        yield "\t".join((*columns, *(["alternatives"] if self._options.alternatives else [])))

    def lines(self, score: Score) -> Iterator[str]:
        """See `Format`."""
        base = self._options.base
        if self._options.per_token:
            for position, token in enumerate(score.tokens, start=1):
                yield self._token_line(score.number, position, token)
        elif self._options.by_word:
            for position, word in enumerate(words_of(score, self._options), start=1):
                log_prob = _maybe_in_base(word.log_prob_nats, base)
                figures = (word.start, word.end, len(word.tokens), log_prob, base, int(word.is_unknown))
                yield tab_separated(score.number, position, word.word, *figures)
        else:
            yield tab_separated(
                score.number,
                in_base(score.log_prob_nats, base),
                base,
                score.num_tokens,
                score.num_unknown,
                score.perplexity,
                score.perplexity_excluding_unknown,
                score.text,
            )

    def _token_line(self, number: int, position: int, token: ScoredToken) -> str:
        base = self._options.base
        values = [
            token.token,
            token.id,
            _maybe_in_base(token.log_prob_nats, base),
            base,
            int(token.is_unknown),
            token.start,
            token.rank,
            _maybe_in_base(token.entropy_nats, base),
            _maybe_in_base(token.entropy_reduction_nats, base),
        ]
        if self._options.alternatives:
            values.append(
                " ".join(f"{visible_token(name)}:{in_base(nats, base):.6g}" for name, nats in token.alternatives)
            )
        return tab_separated(number, position, *values)

    def end(self, total: Score, num_units: int) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        yield from ()


def tab_separated(*values: object) -> str:
    """Return a line of cells; nothing for None, a backslash before what would end a cell."""
    return "\t".join(_escaped(_number(value) if isinstance(value, float) else value) for value in values)


def _number(value: float) -> str:
    return f"{value:.10g}"


def _escaped(value: object) -> str:
    text = "" if value is None else str(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def visible_token(token: str) -> str:
    """Return a token without white space or control characters, for formats that separate by these."""
    return "".join(_visible_character(character) for character in token)


def _visible_character(character: str) -> str:
    if character == " ":
        return SPACE_MARK
    if character.isspace() or not (character.isprintable() or "\udc80" <= character <= "\udcff"):
        return "".join(f"<0x{byte:02X}>" for byte in character.encode("utf-8", "surrogatepass"))
    return character


def _names(score: Score) -> list[str]:
    """Return a unit's tokens as other tools want them, the closing boundary as </s>."""
    return [*(visible_token(token.token) for token in score.tokens[:-1]), END]


class Kenlm:
    """KenLM's `query`: `word=ID NGRAMLEN LOG10P` for each word, then `Total:`; a summary last.

    The length of an n-gram is the number of tokens of context, the unit's start included.
    """

    def begin(self) -> Iterator[str]:
        """See `Format`."""
        yield from ()

    def lines(self, score: Score) -> Iterator[str]:
        """See `Format`."""
        fields = [
            f"{name}={token.id} {length} {_number(in_base(token.log_prob_nats or 0.0, '10'))}"
            for length, (name, token) in enumerate(zip(_names(score), score.tokens, strict=True), start=1)
        ]
        total = _number(in_base(score.log_prob_nats, "10"))
        yield "\t".join([*fields, f"Total: {total} OOV: {score.num_unknown}"])

    def end(self, total: Score, num_units: int) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        yield f"Perplexity including OOVs:\t{_number(total.perplexity)}"
        yield f"Perplexity excluding OOVs:\t{_number(total.perplexity_excluding_unknown)}"
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

    def lines(self, score: Score) -> Iterator[str]:
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
        num_words = score.num_tokens + score.num_excluded - num_sentences
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

    def lines(self, score: Score) -> Iterator[str]:
        """See `Format`."""
        for values in self.rows(score):
            cells = io.StringIO()
            csv.writer(cells, delimiter=self.separator, lineterminator="").writerow(
                ["" if value is None else _number(value) if isinstance(value, float) else value for value in values]
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
        return self._options.closes and word.tokens[-1] is score.tokens[-1] and not score.text[word.start :].strip()


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
            figures = _surprisal_bits(word), _maybe_in_base(entropy, "2"), _maybe_in_base(reduction, "2")
            yield name, score.number - 1, number, len(word.word), *figures


def _surprisal_bits(word: ScoredWord) -> float | None:
    return None if word.log_prob_nats is None else -in_base(word.log_prob_nats, "2") + 0.0


def summary(total: Score) -> dict[str, Any]:
    """Return the totals over a text: nats, counts, both perplexities, bits per token, character, byte and word."""
    return {
        "nats": total.log_prob_nats,
        "num_tokens": total.num_tokens,
        "num_chars": total.num_chars,
        "num_bytes": total.num_bytes,
        "num_words": total.num_words,
        "num_unknown": total.num_unknown,
        "perplexity": total.perplexity,
        "perplexity_excluding_unknown": total.perplexity_excluding_unknown,
        "nats_per_token": -total.log_prob_nats / total.num_tokens if total.num_tokens else math.nan,
        "bits_per_token": total.bits_per(total.num_tokens),
        "bits_per_char": total.bits_per(total.num_chars),
        "bits_per_byte": total.bits_per(total.num_bytes),
        "bits_per_word": total.bits_per(total.num_words),
    }
