"""`charnn score`: how probable a text is."""

import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.cli import console
from charnn.cli.loading import load_directed, load_mixture
from charnn.cli.options import Given, ModelArgument, with_options
from charnn.cli.rollouts import show_rollouts
from charnn.config import ScoreOptions
from charnn.errors import OptionError, TextError
from charnn.options import pick, refuse_both

if TYPE_CHECKING:
    from rich.table import Table

    from charnn.runtime.scorer import Score
    from charnn.text.tokenizers import Tokenizer

LOG_NAMES = {"e": "natural logarithm (nats)", "2": "base 2 (bits)", "10": "base 10"}
WIDTH_OF_NUMBERS, NARROWEST_TEXT = 55, 8
"""Columns that a table's figures take up, and the least that is left for the text."""


@with_options(ScoreOptions)
def score(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="Texts to score, - for standard input.")
    ] = None,
    model: ModelArgument = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="SENTENCE", help="Score this text; may be repeated.")
    ] = None,
    summary: Annotated[str | None, typer.Option("--summary", metavar="FILE", help="Write the totals as JSON.")] = None,
    *,
    given: Given,
) -> None:
    """Say how probable a text is: charnn score --text "The cats were full"."""
    options = pick(ScoreOptions, given)
    if text and files:
        raise OptionError("--text: found together with FILE, but they exclude each other; leave one out")
    if not text and not files:
        if sys.stdin is not None and sys.stdin.isatty():
            raise OptionError("FILE: found none; name a text to score, or give one with --text SENTENCE")
        files = ["-"]
    models = load_directed(model, options.direction)
    loaded = models[0]

    from charnn.runtime.engine import Engine
    from charnn.runtime.scorer import Score, averaged, score_units

    units = iter(text) if text else _units(files or [], loaded.tokenizer, options)
    if options.rollout:
        refuse_both("--summary", summary is not None, "--rollout")
        show_rollouts(loaded, "".join(units), options)
        return
    total, num_units = Score(), 0
    printer = _Printer(options)
    mixture = load_mixture(loaded, options.mix_ngram)
    streams = [
        score_units(Engine.of(each), each.tokenizer, same, options, mixture)
        for each, same in zip(models, itertools.tee(units, len(models)), strict=True)
    ]
    for scores in zip(*streams, strict=True):
        found = scores[0] if len(scores) == 1 else averaged(scores)
        printer.add(found)
        total += found
        num_units += 1
    if not num_units:
        raise TextError(f"{', '.join(files or [])}: is empty; there is nothing to score")
    printer.finish(total)
    if summary:
        _write_summary(summary, total)


def _units(files: list[str], tokenizer: "Tokenizer", options: ScoreOptions) -> Iterator[str]:
    from charnn.text.reading import documents, find_sources, lines, read_text
    from charnn.text.tokenizers import text_encoding

    sources = find_sources(files, console.notice)
    chunks = read_text(sources, text_encoding(tokenizer, options.encoding), console.notice)
    if options.unit == "stream":
        if text := "".join(chunks):
            yield text
    else:
        yield from lines(chunks) if options.unit == "line" else documents(chunks)


class _Printer:
    """Prints scores as they come: lines at once, a table at the end."""

    def __init__(self, options: ScoreOptions) -> None:
        from charnn.runtime import score_formats

        self._options = options
        self._formats = score_formats
        self._table: Table | None = None
        if options.format == "tsv":
            columns = score_formats.TSV_TOKEN_COLUMNS if options.per_token else score_formats.TSV_COLUMNS
            console.write_line("\t".join(columns))
        elif options.format == "table":
            self._table = self._new_table()

    def _new_table(self) -> "Table":
        from rich import box
        from rich.table import Table

        table = Table(
            box=box.SIMPLE_HEAD,
            title=f"log probabilities: {LOG_NAMES[self._options.log_base]}",
            title_justify="left",
        )
        columns = (
            ("line", "token", "log prob", "probability", "")
            if self._options.per_token
            else ("line", "log prob", "tokens", "unknown", "perplexity", "text")
        )
        for name in columns:
            is_word = name in ("token", "text", "")
            if is_word:
                table.add_column(name)
            else:
                table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
        return table

    def add(self, score: "Score") -> None:
        """Print a score, or keep it for the table."""
        options = self._options
        if options.format == "jsonl":
            console.write_json(self._formats.record(score, options.log_base, per_token=options.per_token))
        elif options.format == "tsv":
            for line in self._formats.tsv_lines(score, options.log_base, per_token=options.per_token):
                console.write_line(line)
        elif options.per_token:
            self._add_tokens(score)
        else:
            self._add_row(score)

    def _add_row(self, score: "Score") -> None:
        assert self._table is not None
        room = max(NARROWEST_TEXT, console.output_console().width - WIDTH_OF_NUMBERS)
        text = console.visible(score.text[:room]).replace("␣", " ")
        self._table.add_row(
            str(score.number),
            f"{self._formats.in_base(score.log_prob_nats, self._options.log_base):.4f}",
            str(score.num_tokens),
            str(score.num_unknown),
            f"{score.perplexity:.4g}",
            text + ("…" if len(score.text) > room else ""),
        )

    def _add_tokens(self, score: "Score") -> None:
        import math

        assert self._table is not None
        for token in score.tokens:
            nats = token.log_prob_nats
            scored = (
                ("not scored", "", "")
                if nats is None
                else (
                    f"{self._formats.in_base(nats, self._options.log_base):.4f}",
                    f"{math.exp(nats):.3g}",
                    "█" * round(20 * math.exp(nats)),
                )
            )
            name = console.visible(token.token) + (" <unk>" if token.is_unknown else "")
            self._table.add_row(str(score.number), name, *scored)

    def finish(self, total: "Score") -> None:
        """Print the table and the totals."""
        if self._table is not None:
            console.show(self._table)
        lines = _summary_lines(
            self._formats.summary(total), self._formats.in_base(total.log_prob_nats, self._options.log_base)
        )
        for line in lines:
            if self._table is not None:
                console.write_line(line)
            else:
                console.notice(line)


def _summary_lines(totals: dict[str, float], log_prob: float) -> list[str]:
    return [
        f"log probability {log_prob:.4f} over {totals['num_tokens']:,} tokens "
        f"({totals['num_unknown']:,} unknown), {totals['num_chars']:,} characters, {totals['num_bytes']:,} bytes",
        f"perplexity {totals['perplexity']:.4f} including unknown tokens, "
        f"{totals['perplexity_excluding_unknown']:.4f} excluding them",
        f"{totals['nats_per_token']:.4f} nats per token; bits: {totals['bits_per_token']:.4f} per token, "
        f"{totals['bits_per_char']:.4f} per character, {totals['bits_per_byte']:.4f} per byte",
    ]


def _write_summary(path: str, total: "Score") -> None:
    from pathlib import Path

    from charnn.files import write_atomically
    from charnn.runtime.score_formats import summary

    write_atomically(Path(path), (console.to_json(summary(total)) + "\n").encode("utf-8"))
