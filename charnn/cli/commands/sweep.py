"""`charnn sweep`: training runs over values of options and seeds, and their mean validation losses."""

from typing import Annotated, Literal

import typer

import charnn
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.output.records import Row, write_rows
from charnn.config import ModelOptions, TextOptions, TrainingOptions
from charnn.errors import OptionError


@with_options(TextOptions, ModelOptions, TrainingOptions)
def sweep(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="Files, directories and globs to train on.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="DIRECTORY", help="The directory of the runs."),
        COMMON,
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE,VALUE",
            help="An option of train, and values to try.",
        ),
        COMMON,
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", help="Runs of each setting, with seeds from --seed on."), COMMON
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="[ADDRESS]",
            help="Train side by side with Ray, here or there.",
        ),
        COMMON,
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="Take options from a recipe or a .toml file."),
    ] = None,
    form: Annotated[
        Literal["table", "tsv", "jsonl"], typer.Option("--format", metavar="NAME", help="Output format."), COMMON
    ] = "table",
    *,
    overrides: Overrides,
) -> None:
    """Train with several values of options: charnn sweep book.txt --option cell=gru,rnn."""
    if not texts:
        raise OptionError("TEXT: found none; name the text to train on: charnn sweep book.txt --option cell=lstm,gru")
    if output is None:
        raise OptionError("-o: found none; name the directory of the runs: -o runs/sweep")
    options = charnn.api.parsed_options(option or [])
    runs = charnn.api.planned_runs(texts, options, overrides, output=output, seeds=seeds, recipe=recipe)
    num_finished = sum(charnn.api.finished_config(run) is not None for run in runs)
    if num_finished:
        console.notice(f"{output}: {num_finished:,} of {len(runs):,} runs are finished already")
    try:
        for ended in charnn.api.ended_runs(runs, ray=ray):
            num_finished = ended.number
            console.notice(
                f"run {ended.number:,} of {ended.num_runs:,} finished: {ended.run}: {ended.loss_nats:.4f} nats per token, "
                f"{ended.seconds:.0f} s"
            )
    except KeyboardInterrupt:
        console.notice(
            f"interrupted with {num_finished:,} of {len(runs):,} runs finished; the same command goes on from there"
        )
        raise
    results = charnn.api.results_of(runs)
    title = f"mean validation loss in nats per token over {console.counted(seeds, 'seed')}" + (
        ", with a 95 % confidence interval (Student's t)" if seeds > 1 else ""
    )
    write_rows((result.to_dict() for result in results), form=form, output=None, title=title, shown=_shown)
    best = min(results, key=lambda result: result.mean_nats)
    if len(results) > 1:
        shown = ", ".join(f"{name}={_cell(name, value)}" for name, value in best.setting.items())
        console.notice(f"lowest mean validation loss: {shown}")


def _shown(row: Row) -> list[str]:
    return [_cell(name, value) for name, value in row.items()]


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-" if name in ("low", "high") else "automatic"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in ("valid_loss_nats", "low", "high"):
        return f"{value:.4f}"
    return f"{value:.1f}" if name == "seconds" else f"{value:,}" if name == "num_parameters" else str(value)
