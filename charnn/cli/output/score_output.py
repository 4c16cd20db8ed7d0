"""The output of `charnn score`: a table that grows row by row, or the lines of a format."""

import math
from collections.abc import Sequence
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

    from charnn.cli.output.part_output import PartLines
    from charnn.files import JsonObject
    from charnn.scoring.formats import Format
    from charnn.scoring.scores import Score, ScoredToken
    from charnn.text.located import Origin

LOG_NAMES = {"e": "natural logarithm (nats)", "2": "base 2 (bits)", "10": "base 10"}
SHADES = ((0.06, "color(28)"), (0.15, "color(64)"), (0.3, "color(142)"), (0.5, "color(172)"), (math.inf, "color(160)"))
"""Upper bounds of surprisal, as a fraction of that of a uniform distribution over the vocabulary, and their colors."""
NARROWEST_TEXT = 8
"""The fewest columns of a terminal for the text."""
TOKEN_WIDTH = 16
RECORD = "record"
"""The column of a score in which the name of its FASTA record is."""
MOST_SHOWN = 1 << 16
"""A running text with more characters is left out of its record."""


class ScoreOutput:
    """Receives scores one at a time and writes them.

    Args:
        name: of the input.
        num_files: number of files.
        kept: the other columns of tables.
        lines: the destination.
        vocab_size: number of tokens in the vocabulary, by which tokens are colored.
        of_numbers: whether a token is a value of a series.
        width: columns of a table; by default, those of the terminal.
    """

    def __init__(
        self,
        options: ScoreOptions,
        *,
        name: str,
        num_files: int,
        kept: Sequence[str],
        lines: "Lines | PartLines",
        vocab_size: int = 2,
        of_numbers: bool = False,
        width: int | None = None,
    ) -> None:
        self._options = options
        self._has_records = not options.column and RECORD in kept
        self._lines = lines
        self._is_table = options.format == "table"
        self._paints = self._is_table and not self._lines.is_file and console.has_colors()
        self._of_numbers = of_numbers
        self._uniform_nats = math.log(vocab_size)
        self._format: Format | None = None
        if not self._is_table:
            self._format = charnn.api.format_of(options, name, num_files=num_files, kept=kept, lazily=True)
        self._width = (console.terminal_width() if width is None else width) if self._is_table else 0
        self._running_parts: list[Score] = []
        self._running_chars, self._running_total = 0, charnn.api.Score()
        self._num_running = 0
        self._has_begun = False

    @property
    def wants_tokens(self) -> bool:
        """Whether tokens are shown in color."""
        return self._paints and not self._options.is_running

    def _write(self, line: str | dict[str, object]) -> None:
        if isinstance(line, dict) and "tokens" in line:
            self._lines.write_parts(console.json_parts(line))
        else:
            self._lines.write(line if isinstance(line, str) else charnn.api.to_json(line))

    def begin(self, *, with_headings: bool = True) -> None:
        """Write the headings, once.

        Args:
            with_headings: leave them out, as in the middle of a text, if False.
        """
        if not self._has_begun:
            self._has_begun = True
            headings = self._format.begin() if self._format else self._headings()
            for line in headings if with_headings else ():
                self._write(line)

    def add(self, score: "Score", origin: "Origin") -> None:
        """Write the score of a unit, or of a segment of a running text what can be written so far."""
        if not self._options.is_running:
            self._record(score, origin)
        elif self._writes_by_segment():
            self._record(replace(score, number=self._num_running + 1), origin)
        else:
            self._keep_segment(score)

    def _record(self, score: "Score", origin: "Origin") -> None:
        self.begin()
        if self._format is None:
            self._show(score, origin)
            return
        for line in self._format.lines(score, origin):
            self._write(line)

    def _keep_segment(self, score: "Score") -> None:
        """Keep what the record of a running text needs from a segment: its tokens and, if it is short, its text."""
        self._running_chars += len(score.text)
        self._running_total += score
        if self._options.needs_tokens or self._running_chars <= MOST_SHOWN:
            self._running_parts.append(score)
        else:
            self._running_parts = []

    def _writes_by_segment(self) -> bool:
        details = self._options.per_token or self._options.by_word
        return details and self._options.format != "jsonl"

    def end_running(self, origin: "Origin") -> None:
        """Write the record of a running text, of which all segments were added."""
        self._num_running += 1
        if self._writes_by_segment() or (self._options.unit == "stream" and not self._running_chars):
            return
        keeps_text = self._options.by_word or self._running_chars <= MOST_SHOWN
        parts, total = self._running_parts, self._running_total
        self._running_parts, self._running_chars, self._running_total = [], 0, charnn.api.Score()
        text = "".join(part.text for part in parts) if keeps_text else ""
        tokens = charnn.api.JoinedTokens([part.tokens for part in parts])
        self._record(replace(total, number=self._num_running, text=text, tokens=tokens), origin)

    def finish(self, total: "Score", protocol: str, num_units: int, plain: "Score | None") -> None:
        """Write the totals.

        Args:
            protocol: how the text was read, in words.
            plain: the totals without adaptation, if the model adapts.
        """
        self.begin()
        for line in self._format.end(total, num_units) if self._format else ():
            self._write(line)
        for line in [*_totals(total, plain, self._options, of_numbers=self._of_numbers), protocol]:
            if self._is_table:
                self._write(line)
            else:
                console.notice(line)

    def _headings(self) -> list[str]:
        options = self._options
        title = f"log probabilities: {LOG_NAMES[options.base]}"
        title += ", unknown tokens excluded" if options.exclude_unk else ""
        number = "row" if options.column else "line"
        unknown = "excluded" if options.exclude_unk else "unknown"
        if options.by_region:
            title = "surprisals in bits" + (", unknown tokens excluded" if options.exclude_unk else "")
            heading = (
                f"{number:>6} {'surprisal':>10} {'tokens':>7} {unknown:>8}  {'region':<{self._region_width}}  text"
            )
        elif options.per_token:
            numbers = f"{'log prob':>10} {'prob':>10} {'rank':>7} {'entropy':>8} {'reduced':>8}"
            heading = f"{number:>6}  {'token':<{TOKEN_WIDTH}} {numbers}"
            heading += "  alternatives and their probabilities" if options.alternatives else ""
        elif options.by_word:
            heading = f"{number:>6}  {'log prob':>10} {'tokens':>7}  {'at':>6}  word"
        else:
            heading = f"{number:>6} {'log prob':>13} {'tokens':>7} {unknown:>8} {'perplexity':>11}  text"
            heading = heading.replace("text", "file") if options.unit == "file" else heading
            heading = heading.replace("text", "record") if self._has_records else heading
        return [title, heading, "─" * len(heading)]

    @property
    def _region_width(self) -> int:
        return max(console.cell_width(name) for name in ("region", *self._options.column))

    def _show(self, score: "Score", origin: "Origin") -> None:
        number = score.number if origin.row is None else origin.row
        if self._options.by_region:
            self._show_regions(number, score, origin)
        elif self._options.per_token:
            for token in score.tokens:
                self._show_token(number, token)
        elif self._options.by_word:
            self._show_words(number, score)
        else:
            self._show_unit(number, score, origin)

    def _show_regions(self, number: int, score: "Score", origin: "Origin") -> None:
        for region in charnn.api.scored_regions(score, origin.regions, self._options):
            bits = "not scored" if region.surprisal_bits is None else f"{region.surprisal_bits:.4f}"
            counts = f"{region.num_tokens:>7} {region.num_unknown:>8}"
            name = console.padded(region.region, self._region_width)
            self._write(f"{number:>6} {bits:>10} {counts}  {name}  {console.visible_line(region.text)}".rstrip())

    def _show_unit(self, number: int, score: "Score", origin: "Origin") -> None:

        log_prob = charnn.api.in_base(score.log_prob_nats, self._options.base)
        counts = f"{score.num_tokens:>7} {score.num_unknown:>8}"
        numbers = f"{number:>6} {log_prob:>13.4f} {counts} {score.perplexity:>11.4g}  "
        if self._options.unit == "file":
            self._write(numbers + console.visible_line(origin.file or ""))
            return
        if len(self._options.column) > 1:
            numbers += f"{origin.column}: "
        if self._has_records:
            numbers += f"{console.visible_line(origin.cells[RECORD])}  "
        room = max(NARROWEST_TEXT, self._width - console.cell_width(numbers))
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

    def _show_words(self, number: int, score: "Score") -> None:

        for word in charnn.api.words_of(score, self._options):
            nats = word.log_prob_nats
            shown = "not scored" if nats is None else f"{charnn.api.in_base(nats, self._options.base):.4f}"
            unknown = " <unk>" if word.is_unknown else ""
            name = console.visible(word.word)
            self._write(f"{number:>6}  {shown:>10} {len(word.tokens):>7}  {word.start:>6}  {name}{unknown}")


def noun_of(options: ScoreOptions, kept: Sequence[str] = ()) -> str:
    """Return what a unit of a table or of FASTA is called; nothing for other texts.

    Args:
        kept: the other columns of tables, or that of the names of records.
    """
    if options.column:
        return "sentence" if options.by_region else "cell"
    return "record" if RECORD in kept and options.unit == "line" else ""


def note_uncounted(total: "Score") -> None:
    """Tell the user if no token was counted."""
    if not total.num_tokens:
        console.notice("no token was scored: --no-bos, --no-eos and --exclude-unk leave none")


@lru_cache(maxsize=1 << 16)
def _token_cell(token: str, is_unknown: bool) -> str:
    """Return a token as a table shows it."""
    name = console.visible(token) + (" <unk>" if is_unknown else "")
    return console.padded(console.fitting(name, TOKEN_WIDTH), TOKEN_WIDTH)


def _totals(total: "Score", plain: "Score | None", options: ScoreOptions, *, of_numbers: bool) -> list[str]:

    facts = charnn.api.summary(total)
    if of_numbers:
        return _totals_of_numbers(facts, plain, excludes=options.exclude_unk)
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


def _totals_of_numbers(facts: "JsonObject", plain: "Score | None", *, excludes: bool) -> list[str]:
    missing = f"{facts['num_unknown']:,} missing{', excluded' if excludes else ''}"
    lines = [
        f"{facts['num_tokens']:,} values ({missing}): {facts['bits_per_token']:.4f} bits per value, perplexity "
        f"{facts['perplexity']:.4f}"
    ]
    if plain is not None:
        lines.append(f"without adaptation: {plain.bits_per(plain.num_tokens):.4f} bits per value")
    return lines
