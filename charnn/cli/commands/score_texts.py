"""`charnn score` of files and texts: one record per unit, and the totals."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.cli.output.lines import STDOUT, Lines
from charnn.cli.output.score_output import ScoreOutput, note_uncounted, noun_of
from charnn.cli.output.score_progress import Progress
from charnn.config import ScoreOptions
from charnn.interrupts import terminated_like_interrupted
from charnn.options import chosen

if TYPE_CHECKING:
    from charnn.scoring.build import Scorer
    from charnn.scoring.scores import Score
    from charnn.scoring.totals import Totals
    from charnn.storage.model_directory import Model
    from charnn.text.located import ScoredInput, TextGroup

NOTHING = "there is nothing to score"


def read_input(
    texts: "Sequence[str] | None", files: Sequence[str], models: "Sequence[Model]", options: ScoreOptions
) -> "ScoredInput":
    """Return what is scored: texts, cells of tables, or units of files."""
    if texts:
        return charnn.api.given_texts(texts, is_running=options.is_running)
    if options.column:
        tokenizer = models[0].tokenizer
        return charnn.api.read_cells(
            files,
            options.column,
            by_region=options.by_region,
            encoding=options.encoding,
            numbers=tokenizer.unit if charnn.api.is_of_numbers(tokenizer) else None,
        )
    return charnn.api.input_to_score(models, files, options, tokenizer=models[0].tokenizer)


def score_texts(
    models: "Sequence[Model]",
    texts: "Sequence[str] | None",
    files: "list[str]",
    options: ScoreOptions,
    *,
    output: str | None,
    summary: str | None,
) -> None:
    """Write a record per unit and the totals, and the summary if a file is named for it."""
    source = read_input(texts, files, models, options)
    if options.label_from is not None:
        charnn.api.check_label_column(source, options.label_from)
    source = _begun(source, files)
    scorer = charnn.api.build_scorer(models, options)
    plain = charnn.api.build_plain_scorer(models, options, scorer.weights)
    has_parts = summary is not None and len(source.files) > 1 and options.unit != "stream"
    totals = charnn.api.Totals(source.files if has_parts else (), has_plain=plain is not None)
    with (
        Lines(output) as lines,
        Progress(files, shown=bool(files) and (lines.is_file or not console.is_terminal())) as progress,
        terminated_like_interrupted(),
    ):
        written = ScoreOutput(
            options,
            name=", ".join(files) or "-",
            num_files=len(source.files),
            kept=source.kept,
            lines=lines,
            vocab_size=len(scorer.tokenizer.vocabulary),
            of_numbers=scorer.tokenizer.kind == "bins",
        )
        try:
            for group in source.groups:
                parts, same_parts = itertools.tee(group.texts()) if plain else (group.texts(), iter(()))
                scores = (
                    scorer.scores(parts, options, with_tokens=written.wants_tokens)
                    if options.label_from is None
                    else _labelled_scores(models, group, parts, options, with_tokens=written.wants_tokens)
                )
                for score, plain_score in zip(scores, _plain_scores(plain, same_parts, options), strict=False):
                    origin = group.next_origin()
                    written.add(score, origin)
                    totals.add(score, plain_score, origin.file_number, num_units=int(not options.is_running))
                    progress.advance(score)
                if group.running_origin is not None:
                    totals.num_units += 1
                    written.end_running(group.running_origin)
        except KeyboardInterrupt:
            records = console.counted(totals.num_units, "record")
            done = "in a running text" if options.unit == "stream" else f"after {records}"
            console.notice(f"interrupted {done}")
            raise
        if not totals.num_scores:
            raise charnn.api.empty_text_error(files, NOTHING)
        note_uncounted(totals.score)
        of = ", ".join(source.files) if scorer.tokenizer.fasta and len(source.files) == 1 else "this text"
        charnn.api.report_unknown(totals.score, options, scorer.tokenizer, of)
        noun = noun_of(options, source.kept) or ("text" if texts else "")
        is_series = charnn.api.is_series(scorer.tokenizer)
        reads_backward = any(each.is_backward for each in scorer.estimators)
        protocol = charnn.api.protocol_in_words(
            options,
            totals.num_units,
            noun=noun,
            reads_backward=reads_backward,
            is_series=is_series,
            scores_strands=scorer.scores_strands,
        )
        in_letters = charnn.api.in_letters(totals, scorer.tokenizer, options)
        protocol += charnn.api.strands_in_words(scorer.scores_strands, options) + in_letters.in_words()
        written.finish(totals.score, protocol, totals.num_units, totals.plain)
    if summary:
        names, weights = [str(model.path) for model in models], list(scorer.weights)
        write_summary(summary, totals, names, weights, options, in_letters.to_dict(), is_series=is_series)


def _begun(source: "ScoredInput", files: "list[str]") -> "ScoredInput":
    """Return what is scored after its first text was read: the adaptation of a model may be fitted for half a minute.

    Raises:
        TextError: if there is none, or it cannot be read.
    """
    begun = source.begun()
    if begun is None:
        raise charnn.api.empty_text_error(files, NOTHING)
    return begun


def _labelled_scores(
    models: "Sequence[Model]", group: "TextGroup", parts: Iterator[str], options: ScoreOptions, *, with_tokens: bool
) -> "Iterator[Score]":
    """Return the score of each text with its own label."""
    assert options.label_from is not None
    label_from = options.label_from
    labelled = ((text, charnn.api.label_of(group.latest_origin, label_from)) for text in parts)
    return charnn.api.LabelledScorer(models, options).scores(labelled, with_tokens=with_tokens)


def _plain_scores(plain: "Scorer | None", parts: Iterator[str], options: ScoreOptions) -> "Iterator[Score]":
    return plain.scores(parts, options) if plain else itertools.repeat(charnn.api.Score())


def write_summary(
    path: str,
    totals: "Totals",
    models: Sequence[str],
    weights: Sequence[float],
    options: ScoreOptions,
    further: "Mapping[str, object] | None" = None,
    *,
    is_series: bool = False,
) -> None:
    """Write the totals, further facts, and how they came about, as JSON."""
    protocol = charnn.api.protocol_of(options, is_series=is_series)
    how = {"models": list(models), "weights": list(weights), "protocol": protocol}
    facts = totals.to_dict() | dict(further or {}) | how | {"options": chosen(options)}
    if path in STDOUT:
        console.write_json(facts)
        return
    charnn.api.write_output(Path(path), (charnn.api.to_json(facts) + "\n").encode("utf-8"))
