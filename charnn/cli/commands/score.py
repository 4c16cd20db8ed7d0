"""`charnn score`: the probability of a text."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import charnn
from charnn.cli.commands.loading import load_directed, load_models
from charnn.cli.commands.score_nbest import rescore
from charnn.cli.commands.score_pairs import score_minimal_pairs
from charnn.cli.commands.score_rollout import show_rollouts
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.output.lines import STDOUT, Lines
from charnn.cli.output.score_output import ScoreOutput
from charnn.cli.output.score_progress import Progress
from charnn.cli.targets import check_targets
from charnn.config import ScoreOptions
from charnn.errors import OptionError, TextError
from charnn.interrupts import terminated_like_interrupted
from charnn.options import chosen, pick, refuse_both

if TYPE_CHECKING:
    from charnn.scoring.scores import Score
    from charnn.storage.model_directory import Model


@with_options(ScoreOptions)
def score(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="Texts to score, - for standard input.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="RUN",
            help="The model's directory; several are interpolated (see -w).",
            show_default="the newest under runs/",
        ),
        COMMON,
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="SENTENCE", help="Score this text; may be repeated."), COMMON
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write the records to this file."), COMMON
    ] = None,
    summary: Annotated[
        str | None, typer.Option("--summary", metavar="FILE", help="Write the totals to this file, as JSON."), COMMON
    ] = None,
    *,
    overrides: Overrides,
) -> None:
    """Compute the probability of a text: charnn score --text "The cats were full"."""
    options = pick(ScoreOptions, overrides)
    if text and files:
        raise OptionError("--text: cannot be combined with FILE; leave one out")
    compared = options.pairs or options.nbest
    if compared:
        flag = "--pairs" if options.pairs else "--nbest"
        refuse_both(flag, bool(text or files), "FILE or --text")
        refuse_both(flag, summary is not None, "--summary")
    elif not text and not files:
        if sys.stdin is not None and sys.stdin.isatty():
            raise OptionError("FILE: found none; name a text to score, or pass one with --text SENTENCE")
        files = ["-"]
    if text and len(text) > 1 and options.unit == "stream":
        raise OptionError(
            f"--text: found {len(text)} texts with --unit stream, but a stream is one text; join them, or leave --unit out"
        )
    _check_files(files or [])
    models = _load(model, options)
    check_targets(
        {"--output": output, "--summary": summary},
        sources=[*(files or []), options.pairs, options.nbest, options.fit_weights],
        models=[each.path for each in models],
    )
    if options.rollout:
        refuse_both("--summary", summary is not None, "--rollout")
        refuse_both("--output", output is not None, "--rollout")
        refuse_both("--rollout", len(models) > 1, "several models")
        units = iter(text) if text else _units(files or [], models, options)
        show_rollouts(models[0], "".join(units), options)
        return
    if options.pairs:
        score_minimal_pairs(models, options.pairs, options, output)
    elif options.nbest:
        rescore(models, options.nbest, options, output)
    else:
        _score_texts(models, text, files or [], options, output=output, summary=summary)


def _check_files(files: list[str]) -> None:
    """Raise TextError for a file that does not exist, which may be a sentence without --text."""
    try:
        charnn.api.check_exist(files)
    except TextError as error:
        raise TextError(f"{error}, or pass a sentence with --text") from error


def _units(files: list[str], models: "Sequence[Model]", options: ScoreOptions) -> Iterator[str]:
    return charnn.api.units_to_score(models, files, options, tokenizer=models[0].tokenizer)


def _load(named: "Sequence[str] | None", options: ScoreOptions) -> "list[Model]":
    if named and len(named) > 1:
        refuse_both(f"--direction {options.direction}", options.direction is not None, "several models")
        return load_models(named)
    return load_directed(named[0] if named else None, options.direction)


def _score_texts(
    models: "Sequence[Model]",
    texts: "Sequence[str] | None",
    files: "list[str]",
    options: ScoreOptions,
    *,
    output: str | None,
    summary: str | None,
) -> None:

    scorer = charnn.api.build_scorer(models, options)
    plain = charnn.api.build_plain_scorer(models, options, scorer.weights)
    units: Iterator[str] = iter(texts) if texts else _units(files, models, options)
    units, same_units = itertools.tee(units) if plain else (units, iter(()))
    name = ", ".join(files) if files else "-"
    total, plain_total, num_units = charnn.api.Score(), charnn.api.Score(), 0
    with (
        Lines(output) as lines,
        Progress(files, shown=bool(files) and (lines.is_file or not console.is_terminal())) as progress,
        terminated_like_interrupted(),
    ):
        written = ScoreOutput(options, name=name, lines=lines, tokenizer=scorer.tokenizer)
        scores = scorer.scores(units, options, with_tokens=written.wants_tokens)
        plain_scores = plain.scores(same_units, options) if plain else itertools.repeat(charnn.api.Score())
        try:
            for score, plain_score in zip(scores, plain_scores, strict=False):
                written.add(score)
                total, plain_total = total + score, plain_total + plain_score
                num_units += 1
                progress.advance(score)
        except KeyboardInterrupt:
            done = "in a running text" if options.unit == "stream" else f"after {console.counted(num_units, 'record')}"
            console.notice(f"interrupted {done}")
            raise
        if not num_units:
            raise charnn.api.empty_text_error(files, "there is nothing to score")
        if not total.num_tokens:
            console.notice("no token was scored: --no-bos, --no-eos and --exclude-unk leave none")
        charnn.api.report_unknown(total, options, scorer.tokenizer.kind, "this text")
        num_units = 1 if options.unit == "stream" else num_units
        protocol = charnn.api.protocol_in_words(
            options,
            num_units,
            noun="text" if texts else "",
            reads_backward=any(each.is_backward for each in scorer.estimators),
        )
        written.finish(total, protocol, num_units, plain_total if plain else None)
    if summary:
        how = {
            "models": [str(model.path) for model in models],
            "weights": list(scorer.weights),
            "protocol": charnn.api.protocol_of(options),
            "options": chosen(options),
        }
        _write_summary(summary, total, plain_total if plain else None, how)


def _write_summary(path: str, total: "Score", plain: "Score | None", how: dict[str, object]) -> None:

    facts = charnn.api.summary(total) | ({"plain": charnn.api.summary(plain)} if plain else {}) | how
    if path in STDOUT:
        console.write_json(facts)
        return
    charnn.api.write_atomically(Path(path), (console.to_json(facts) + "\n").encode("utf-8"))
