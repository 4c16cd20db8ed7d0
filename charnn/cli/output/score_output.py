"""The output of `charnn score`: a table that grows row by row, or the lines of a format."""

import math
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.cli.output.lines import Lines
from charnn.config import ScoreOptions

if TYPE_CHECKING:
    from rich.text import Text

    from charnn.scoring.formats import Format
    from charnn.scoring.scores import Score, ScoredToken
    from charnn.text.tokenizers import Tokenizer

LOG_NAMES = {"e": "natural logarithm (nats)", "2": "base 2 (bits)", "10": "base 10"}
SHADES = ((0.06, "color(28)"), (0.15, "color(64)"), (0.3, "color(142)"), (0.5, "color(172)"), (math.inf, "color(160)"))
"""Upper bounds of surprisal, as a fraction of that of a uniform distribution over the vocabulary, and their colors."""
WIDTH_OF_NUMBERS, NARROWEST_TEXT = 51, 8
"""Columns for the numbers of a table, and the fewest for the text."""
TOKEN_WIDTH = 16
MOST_SHOWN = 1 << 16
"""A running text with more characters is left out of its record."""


class ScoreOutput:
    """Receives scores one at a time and writes them.

    Args:
        name: of the input.
        lines: the destination.
    """

    def __init__(self, options: ScoreOptions, *, name: str, lines: Lines, tokenizer: "Tokenizer") -> None:
        self._options = options
        self._lines = lines
        self._is_table = options.format == "table"
        self._paints = self._is_table and not self._lines.is_file and console.has_colors()
        self._uniform_nats = math.log(len(tokenizer.vocabulary))
        self._format: Format | None = None if self._is_table else charnn.api.format_of(options, name)
        self._width = console.terminal_width() if self._is_table else 0
        self._stream_parts: list[Score] = []
        self._stream_chars = 0
        self._has_begun = False

    @property
    def wants_tokens(self) -> bool:
        """Whether tokens are shown in color."""
        return self._paints and self._options.unit != "stream"

    def _write(self, line: str | dict[str, object]) -> None:
        self._lines.write(line if isinstance(line, str) else console.to_json(line))

    def _write_record(self, score: "Score") -> None:
        """Write a unit in the format, or in the table."""
        if self._format is None:
            self._show(score)
        elif self._options.format == "jsonl" and self._options.per_token:
            record = charnn.api.growing_record(score, self._options)
            self._lines.write_parts(console.json_parts(record))
        else:
            for line in self._format.lines(score):
                self._write(line)

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            for line in self._format.begin() if self._format else self._headings():
                self._write(line)

    def add(self, score: "Score") -> None:
        """Write the score of a unit, or of a piece of a running text what can be written so far."""
        self._begin()
        if self._options.unit == "stream" and not self._writes_by_piece():
            self._keep_piece(score)
            return
        self._write_record(score)

    def _keep_piece(self, score: "Score") -> None:
        """Keep what the record of a running text needs from a piece: its tokens and, if it is short, its text."""
        self._stream_chars += len(score.text)
        if self._options.needs_tokens or self._stream_chars <= MOST_SHOWN:
            self._stream_parts.append(score)
        else:
            self._stream_parts = [replace(score, text="")]

    def _writes_by_piece(self) -> bool:
        details = self._options.per_token or self._options.by_word
        return details and self._options.format != "jsonl"

    def finish(self, total: "Score", protocol: str, num_units: int, plain: "Score | None") -> None:
        """Write what remains, and the totals.

        Args:
            protocol: how the text was read, in words.
            plain: the totals without adaptation, if the model adapts.
        """
        self._begin()
        if self._stream_parts:
            self._add_stream(total)
        for line in self._format.end(total, num_units) if self._format else ():
            self._write(line)
        for line in [*_totals(total, plain, self._options), protocol]:
            if self._is_table:
                self._write(line)
            else:
                console.notice(line)

    def _add_stream(self, total: "Score") -> None:
        parts, self._stream_parts = self._stream_parts, []
        keeps_text = self._options.by_word or self._stream_chars <= MOST_SHOWN
        text = "".join(part.text for part in parts) if keeps_text else ""
        whole = replace(total, number=1, text=text, tokens=charnn.api.JoinedTokens([part.tokens for part in parts]))
        self._write_record(whole)

    def _headings(self) -> list[str]:
        options = self._options
        title = f"log probabilities: {LOG_NAMES[options.base]}"
        title += ", unknown tokens excluded" if options.exclude_unk else ""
        if options.per_token:
            numbers = f"{'log prob':>10} {'prob':>10} {'rank':>7} {'entropy':>8} {'reduced':>8}"
            heading = f"{'line':>6}  {'token':<{TOKEN_WIDTH}} {numbers}"
            heading += "  alternatives and their probabilities" if options.alternatives else ""
        elif options.by_word:
            heading = f"{'line':>6}  {'log prob':>10} {'tokens':>7}  {'at':>6}  word"
        else:
            unknown = "excluded" if options.exclude_unk else "unknown"
            heading = f"{'line':>6} {'log prob':>13} {'tokens':>7} {unknown:>8} {'perplexity':>11}  text"
        return [title, heading, "─" * len(heading)]

    def _show(self, score: "Score") -> None:
        if self._options.per_token:
            for token in score.tokens:
                self._show_token(score.number, token)
        elif self._options.by_word:
            self._show_words(score)
        else:
            self._show_unit(score)

    def _show_unit(self, score: "Score") -> None:

        log_prob = charnn.api.in_base(score.log_prob_nats, self._options.base)
        counts = f"{score.num_tokens:>7} {score.num_unknown:>8}"
        numbers = f"{score.number:>6} {log_prob:>13.4f} {counts} {score.perplexity:>11.4g}  "
        room = max(NARROWEST_TEXT, self._width - WIDTH_OF_NUMBERS)
        if self._paints and score.tokens:
            console.show_line(self._painted(numbers, score, room))
            return
        shown = console.fitting(console.visible_line(score.text[: room + 1]), room)
        self._write((numbers + shown).rstrip())

    def _painted(self, numbers: str, score: "Score", room: int) -> "Text":
        """Return a row with each token of the text in the color of its surprisal."""
        text = console.visible_line(score.text)
        fits = console.cell_width(text[: room + 1]) <= room
        shown = console.fitting(text[: room + 1], room)
        row = console.new_text(numbers + shown)
        last = len(numbers) + len(shown) - (0 if fits else 1)
        tokens = list(takewhile(lambda token: token.start <= room, score.tokens))
        ends = [token.start for token in tokens[1:]] + [len(score.text)]
        for token, end in zip(tokens, ends, strict=True):
            if token.log_prob_nats is not None and token.start < end:
                style = self._shade(token)
                row.stylize(style, min(len(numbers) + token.start, last), min(len(numbers) + end, last))
        return row

    def _shade(self, token: "ScoredToken") -> str:
        fraction = -(token.log_prob_nats or 0.0) / self._uniform_nats
        return next(style for most, style in SHADES if fraction < most)

    def _show_token(self, number: int, token: "ScoredToken") -> None:

        base = self._options.base
        name = _token_cell(token.token, token.is_unknown)
        if token.log_prob_nats is None:
            self._write(f"{number:>6}  {name} {'not scored':>10}")
            return

        def shown(nats: float | None) -> str:
            return "" if nats is None else f"{charnn.api.in_base(nats, base):.3f}"

        log_prob = charnn.api.in_base(token.log_prob_nats, base)
        row = (
            f"{number:>6}  {name} {log_prob:>10.4f} {math.exp(token.log_prob_nats):>10.3g} "
            f"{token.rank or '':>7} {shown(token.entropy_nats):>8} {shown(token.entropy_reduction_nats):>8}"
        )
        others = "  ".join(f"{console.visible(name)} {math.exp(nats):.3g}" for name, nats in token.alternatives)
        row += f"  {others}" if others else ""
        if not self._paints:
            self._write(row.rstrip())
            return
        painted = console.new_text(row)
        painted.stylize(self._shade(token), 8, 8 + len(name))
        console.show_line(painted)

    def _show_words(self, score: "Score") -> None:

        for word in charnn.api.words_of(score, self._options):
            nats = word.log_prob_nats
            shown = "not scored" if nats is None else f"{charnn.api.in_base(nats, self._options.base):.4f}"
            unknown = " <unk>" if word.is_unknown else ""
            name = console.visible(word.word)
            self._write(f"{score.number:>6}  {shown:>10} {len(word.tokens):>7}  {word.start:>6}  {name}{unknown}")


@lru_cache(maxsize=1 << 16)
def _token_cell(token: str, is_unknown: bool) -> str:
    """Return a token as a table shows it."""
    name = console.visible(token) + (" <unk>" if is_unknown else "")
    return console.padded(console.fitting(name, TOKEN_WIDTH), TOKEN_WIDTH)


def _totals(total: "Score", plain: "Score | None", options: ScoreOptions) -> list[str]:

    facts = charnn.api.summary(total)
    excludes = options.exclude_unk
    perplexity = f"perplexity {facts['perplexity']:.4f}"
    lines = [
        f"log probability {charnn.api.in_base(total.log_prob_nats, options.base):.4f} (base {options.base}), "
        f"{facts['nats_per_token']:.4f} nats per token",
        f"{facts['num_tokens']:,} tokens ({facts['num_unknown']:,} unknown{', excluded' if excludes else ''}), "
        f"{facts['num_chars']:,} characters, {facts['num_bytes']:,} bytes, {facts['num_words']:,} words",
        f"{perplexity} excluding unknown tokens (--exclude-unk)"
        if excludes
        else f"{perplexity} including unknown tokens, {facts['perplexity_excluding_unknown']:.4f} excluding them",
        f"bits per token {facts['bits_per_token']:.4f}, character {facts['bits_per_char']:.4f}, "
        f"byte {facts['bits_per_byte']:.4f}, word {facts['bits_per_word']:.4f}",
    ]
    if plain is not None:
        beside = charnn.api.summary(plain)
        lines.append(
            f"without adaptation: perplexity {beside['perplexity']:.4f}, {beside['nats_per_token']:.4f} nats per token, "
            f"{beside['bits_per_char']:.4f} bits per character"
        )
    return lines
