"""charnn's own output formats for scores, and functions shared by all formats."""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

from charnn.config import ScoreOptions
from charnn.config.scoring import LOG_OF_BASE
from charnn.files import JsonObject
from charnn.scoring.layout import PLAIN, Layout
from charnn.scoring.regions import ScoredRegion, scored_regions
from charnn.scoring.scores import Score, ScoredToken
from charnn.scoring.words import ScoredWord, scored_words
from charnn.text.located import Origin
from charnn.text.vocabulary import SPACE_SYMBOL

TSV_COLUMNS = (
    "log_prob",
    "log_base",
    "num_tokens",
    "num_unknown",
    "perplexity",
    "perplexity_excluding_unknown",
    "text",
)
TSV_TOKEN_COLUMNS = (
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
TSV_WORD_COLUMNS = ("position", "word", "start", "end", "num_tokens", "log_prob", "log_base", "unknown")
REGION_FIELDS = ("region", "text", "surprisal_bits", "log_prob", "log_base", "num_tokens", "num_unknown")
NOWHERE = Origin()


def in_base(nats: float, base: str) -> float:
    """Convert a natural logarithm to base e, 2 or 10.

    Example:
        >>> charnn.api.in_base(math.log(8), "2")
        3.0
    """
    return nats / LOG_OF_BASE[base]


def maybe_in_base(nats: float | None, base: str) -> float | None:
    """Convert a natural logarithm, or return None if it is None."""
    return None if nats is None else in_base(nats, base)


class Format(Protocol):
    """Formats scores as lines; JSON records are dictionaries that the console serializes."""

    def begin(self) -> Iterator[str]:
        """Yield the header lines."""
        ...

    def lines(self, score: Score, origin: Origin = NOWHERE) -> Iterator[str | JsonObject]:
        """Yield the lines of one unit, or of a segment of a running text."""
        ...

    def end(self, total: Score, num_units: int) -> Iterator[str]:
        """Yield the footer lines."""
        ...


class JsonLines:
    """One JSON record per unit, or per region of it.

    Args:
        lazily: see `score_fields`.
    """

    def __init__(self, options: ScoreOptions, layout: Layout = PLAIN, *, lazily: bool = False) -> None:
        self._options, self._layout, self._lazily = options, layout, lazily

    def begin(self) -> Iterator[str]:
        """See `Format`."""
        yield from ()

    def lines(self, score: Score, origin: Origin = NOWHERE) -> Iterator[JsonObject]:
        """See `Format`."""
        before, after = self._layout.before(origin, score.number), self._layout.after(origin)
        if self._options.by_region:
            for region in scored_regions(score, origin.regions, self._options):
                yield {**before, **_region_fields(region, self._options), **after}
            return
        text = {"text": score.text} if self._layout.is_table else {}
        yield {**before, **after, **score_fields(score, self._options, lazily=self._lazily), **text}

    def end(self, total: Score, num_units: int) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        yield from ()


def own_fields(options: ScoreOptions) -> set[str]:
    """Return the names of a score's fields in TSV and JSON records, where a table's column may not have them."""
    if options.by_region:
        return set(REGION_FIELDS)
    return {*_tsv_columns(options), *score_fields(Score(), options), "text"}


def score_fields(score: Score, options: ScoreOptions, *, lazily: bool = False) -> JsonObject:
    """Return the fields of a unit's JSON record that do not say where the unit is from.

    Args:
        lazily: make the tokens an iterator, so that few of a long unit are in memory at a time.
    """
    base = options.base
    fields: JsonObject = {
        "log_prob": in_base(score.log_prob_nats, base),
        "log_base": base,
        "num_tokens": score.num_tokens,
        "num_unknown": score.num_unknown,
        "num_excluded": score.num_excluded,
        "num_chars": score.num_chars,
        "num_bytes": score.num_bytes,
    }
    if options.per_token:
        tokens = (_token_fields(token, options) for token in score.tokens)
        fields["tokens"] = tokens if lazily else list(tokens)
    if options.by_word:
        fields["words"] = [
            {
                "word": word.word,
                "start": word.start,
                "end": word.end,
                "num_tokens": len(word.tokens),
                "log_prob": maybe_in_base(word.log_prob_nats, base),
                "unknown": word.is_unknown,
            }
            for word in words_of(score, options)
        ]
    return fields


def _region_fields(region: ScoredRegion, options: ScoreOptions) -> JsonObject:
    log_prob = maybe_in_base(region.log_prob_nats, options.base)
    figures = (region.surprisal_bits, log_prob, options.base, region.num_tokens, region.num_unknown)
    return dict(zip(REGION_FIELDS, (region.region, region.text, *figures), strict=True))


def _token_fields(token: ScoredToken, options: ScoreOptions) -> JsonObject:
    base = options.base
    fields = {
        "token": token.token,
        "id": token.id,
        "log_prob": maybe_in_base(token.log_prob_nats, base),
        "unknown": token.is_unknown,
        "start": token.start,
        "rank": token.rank,
        "entropy": maybe_in_base(token.entropy_nats, base),
        "entropy_reduction": maybe_in_base(token.entropy_reduction_nats, base),
    }
    if options.alternatives:
        fields["alternatives"] = [{"token": name, "log_prob": in_base(nats, base)} for name, nats in token.alternatives]
    return fields


def words_of(score: Score, options: ScoreOptions) -> list[ScoredWord]:
    """Return the scored words of a unit, with white space assigned as the options specify.

    Example:
        >>> [word.word for word in charnn.api.words_of(model.score("The fox slept."), ScoreOptions(by_word=True))]
    """
    return scored_words(score, spaces=options.spaces, is_closed=options.closes)


class TabSeparated:
    """charnn's own TSV: one line per unit, region, token or word. Tabs, line ends and backslashes in texts are escaped."""

    def __init__(self, options: ScoreOptions, layout: Layout = PLAIN) -> None:
        self._options, self._layout = options, layout
        self._last = (0, 0)

    def begin(self) -> Iterator[str]:
        """See `Format`."""
        columns = _tsv_columns(self._options)
        yield tab_separated(*self._layout.names_before, *columns, *self._layout.names_after)

    def lines(self, score: Score, origin: Origin = NOWHERE) -> Iterator[str]:
        """See `Format`."""
        before, after = self._layout.before(origin, score.number), self._layout.after(origin)
        for values in self._rows(score, origin):
            yield tab_separated(*before.values(), *values, *after.values())

    def _rows(self, score: Score, origin: Origin) -> Iterator[Sequence[object]]:
        """Yield the values of a unit, or of each of its regions, tokens or words."""
        base = self._options.base
        if self._options.by_region:
            for region in scored_regions(score, origin.regions, self._options):
                yield list(_region_fields(region, self._options).values())
        elif self._options.per_token:
            for token in score.tokens:
                yield self._position_in(score.number), *self._token_values(token)
        elif self._options.by_word:
            for word in words_of(score, self._options):
                log_prob = maybe_in_base(word.log_prob_nats, base)
                values = (word.start, word.end, len(word.tokens), log_prob, base, int(word.is_unknown))
                yield self._position_in(score.number), word.word, *values
        else:
            counts = (base, score.num_tokens, score.num_unknown)
            perplexities = (score.perplexity, score.perplexity_excluding_unknown)
            yield in_base(score.log_prob_nats, base), *counts, *perplexities, score.text

    def _position_in(self, number: int) -> int:
        """Return the number of the next line within its unit, which may be split into segments."""
        last_number, last_position = self._last
        self._last = (number, last_position + 1 if number == last_number else 1)
        return self._last[1]

    def _token_values(self, token: ScoredToken) -> Sequence[object]:
        base = self._options.base
        values = [
            token.token,
            token.id,
            maybe_in_base(token.log_prob_nats, base),
            base,
            int(token.is_unknown),
            token.start,
            token.rank,
            maybe_in_base(token.entropy_nats, base),
            maybe_in_base(token.entropy_reduction_nats, base),
        ]
        if self._options.alternatives:
            values.append(
                " ".join(f"{visible_token(name)}:{in_base(nats, base):.6g}" for name, nats in token.alternatives)
            )
        return values

    def end(self, total: Score, num_units: int) -> Iterator[str]:  # noqa: ARG002
        """See `Format`."""
        yield from ()


def _tsv_columns(options: ScoreOptions) -> tuple[str, ...]:
    if options.by_region:
        return REGION_FIELDS
    if options.per_token:
        return (*TSV_TOKEN_COLUMNS, *(["alternatives"] if options.alternatives else []))
    return TSV_WORD_COLUMNS if options.by_word else TSV_COLUMNS


def tab_separated(*values: object) -> str:
    r"""Return a tab-separated line; None becomes an empty cell, and tabs, line ends and backslashes are escaped.

    Example:
        >>> charnn.api.tab_separated(1, 0.5, "a\tb")
        '1\t0.5\ta\\tb'
    """
    return "\t".join(_escaped(format_number(value) if isinstance(value, float) else value) for value in values)


def format_number(value: float) -> str:
    """Format a number with ten significant digits."""
    return f"{value:.10g}"


_ESCAPES = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"} | {
    ord(character): f"\\u{ord(character):04x}" for character in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
}
"""Escapes of characters that end a cell or, for some readers, a line."""


def _escaped(value: object) -> str:
    text = "" if value is None else str(value)
    text = text.translate(_ESCAPES)
    return '"' + text.replace('"', '""') + '"' if '"' in text else text


def visible_token(token: str) -> str:
    """Return a token with white space and control characters replaced, for formats that use them as separators.

    A space becomes U+2581, as in SentencePiece, and any other such character `<0xNN>`.
    """
    return "".join(_visible_character(character) for character in token)


def _visible_character(character: str) -> str:
    if character == " ":
        return SPACE_SYMBOL
    if character.isspace() or not (character.isprintable() or "\udc80" <= character <= "\udcff"):
        return "".join(f"<0x{byte:02X}>" for byte in character.encode("utf-8", "surrogatepass"))
    return character


def summary(total: Score) -> JsonObject:
    """Return the totals over a text: nats, counts, both perplexities, and bits per token, character, byte and word.

    Example:
        >>> charnn.api.summary(model.score("The fox slept."))["bits_per_char"]
    """
    return {
        "nats": total.log_prob_nats,
        "num_tokens": total.num_tokens,
        "num_chars": total.num_chars,
        "num_bytes": total.num_bytes,
        "num_words": total.num_words,
        "num_unknown": total.num_unknown,
        "num_excluded": total.num_excluded,
        "perplexity": total.perplexity,
        "perplexity_excluding_unknown": total.perplexity_excluding_unknown,
        "nats_per_token": -total.log_prob_nats / total.num_tokens if total.num_tokens else math.nan,
        "bits_per_token": total.bits_per(total.num_tokens),
        "bits_per_char": total.bits_per(total.num_chars),
        "bits_per_byte": total.bits_per(total.num_bytes),
        "bits_per_word": total.bits_per(total.num_words),
    }
