"""`charnn score`: the probability of a text."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import charnn
from charnn.cli.commands.loading import load_directed, load_models
from charnn.cli.commands.score_nbest import rescore
from charnn.cli.commands.score_pairs import score_minimal_pairs
from charnn.cli.commands.score_parts import Division, merge_parts, score_shard, score_with_ray
from charnn.cli.commands.score_rollout import show_rollouts
from charnn.cli.commands.score_texts import read_input, score_texts
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.targets import check_targets
from charnn.config import ScoreOptions
from charnn.errors import OptionError, TextError
from charnn.options import pick, refuse_both

if TYPE_CHECKING:
    from charnn.storage.model_directory import Model

PARTS = "Parts of a large text"


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
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Score part I of N, into files beside -o.", rich_help_panel=PARTS),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write -o from all of its parts.", rich_help_panel=PARTS)
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="[ADDRESS]",
            help="Score all parts with Ray and merge them: on a cluster (host:port), or on the cores of this machine.",
            rich_help_panel=PARTS,
        ),
    ] = None,
    *,
    overrides: Overrides,
) -> None:
    """Compute the probability of a text: charnn score --text "The cats were full"."""
    options = pick(ScoreOptions, overrides)
    division = Division(shard, ray, merge)
    if merge:
        refuse_both(
            "--merge", bool(files or text or model or overrides), "FILE, -m or other options than -o and --summary"
        )
        check_targets({"--output": output, "--summary": summary})
        merge_parts(output, summary)
        return
    if division.flag:
        refuse_both("--text", bool(text), division.flag)
        refuse_both("--summary", shard is not None and summary is not None, "--shard; pass it to --merge")
        _check_files(files or ["-"])
        refuse_both("--label-from", options.label_from is not None, division.flag)
        charnn.api.check_divisible(options, files or ["-"], division.flag)
        division.output(output)
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
    if text:
        refuse_both("--text", bool(options.column), "--column, which is of a FILE")
        refuse_both("--text", options.unit == "file", "--unit file")
        refuse_both("--text", options.label_from is not None, "--label-from; name its label with --label")
    if text and len(text) > 1 and options.unit == "stream":
        raise OptionError(
            f"--text: found {len(text)} texts with --unit stream, but a stream is one text; join them, or leave --unit out"
        )
    _check_files(files or [])
    models = _load(model, options)
    if "unit" not in overrides:
        options = charnn.api.with_default_unit(options, models, files or [])
    check_targets(
        {"--output": output, "--summary": summary},
        sources=[*(files or []), options.pairs, options.nbest, options.fit_weights],
        models=[each.path for each in models],
    )
    if options.rollout:
        refuse_both("--summary", summary is not None, "--rollout")
        refuse_both("--output", output is not None, "--rollout")
        refuse_both("--rollout", len(models) > 1, "several models")
        units = read_input(text, files or [], models, options)
        show_rollouts(models[0], "".join(part for group in units.groups for part in group.texts()), options)
        return
    if options.pairs:
        score_minimal_pairs(models, options.pairs, options, output)
    elif options.nbest:
        rescore(models, options.nbest, options, output)
    elif shard is not None:
        score_shard(models, files or [], options, division, output)
    elif ray is not None:
        score_with_ray(models, files or [], options, division, output=output, summary=summary)
    else:
        score_texts(models, text, files or [], options, output=output, summary=summary)


def _check_files(files: list[str]) -> None:
    """Raise TextError for a file that does not exist, which may be a sentence without --text."""
    try:
        charnn.api.check_exist(files)
    except TextError as error:
        raise TextError(f"{error}, or pass a sentence with --text") from error


def _load(named: "Sequence[str] | None", options: ScoreOptions) -> "list[Model]":
    if named and len(named) > 1:
        refuse_both(f"--direction {options.direction}", options.direction is not None, "several models")
        return load_models(named)
    return load_directed(named[0] if named else None, options.direction)
