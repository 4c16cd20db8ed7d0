"""`charnn fill`: candidates for a gap, ranked by the probability of the whole sentence."""

from typing import TYPE_CHECKING, Annotated

import typer

import charnn
from charnn.cli.commands.loading import load_all_directions, load_mixture
from charnn.cli.options import COMMON, ModelArgument, Overrides, with_options
from charnn.cli.output import console
from charnn.config import FillOptions
from charnn.errors import TextError
from charnn.options import pick, refuse_both

if TYPE_CHECKING:
    from charnn.scoring.infilling import Filling

HEADINGS = {"forward": "from the left", "backward": "from the right"}


@with_options(FillOptions)
def fill(
    text: Annotated[str, typer.Argument(help="A sentence with a gap, ____.")],
    model: ModelArgument = None,
    candidates_file: Annotated[
        str | None,
        typer.Option("--candidates-file", metavar="FILE", help="Rank the lines of a file, - for standard input."),
        COMMON,
    ] = None,
    *,
    overrides: Overrides,
) -> None:
    """Fill a gap: charnn fill "The cats ____ full." --candidates was,were.

    Candidates, listed or proposed by beam search, are ranked by the log probability of the whole sentence, as in charnn score;
    with a bidirectional model, by the mean of both directions.
    """
    options = pick(FillOptions, overrides)
    models = load_all_directions(model, options.direction)
    refuse_both(
        "--mix-ngram", options.mix_ngram and len(models) > 1, "a bidirectional model; choose one with --direction"
    )
    candidates = [part.strip() for entry in options.candidates for part in entry.split(",")]
    if "" in candidates:
        raise TextError("--candidates: found an empty candidate; separate candidates with single commas")
    if candidates_file is not None:
        read = charnn.api.read_prompts(candidates_file, models[0].tokenizer, encoding=options.encoding)
        candidates += [line for line in read if line]
        if not candidates:
            raise TextError(f"{charnn.api.display_name(candidates_file)}: contains no candidates; write one per line")
    ranked = charnn.api.fill(
        charnn.api.engines_of(models),
        models[0].tokenizer,
        text,
        candidates or None,
        gap=options.blank,
        beam=options.beam,
        max_tokens=options.max_tokens,
        on_unknown=options.on_unknown,
        mixture=load_mixture(models[0], options.mix_ngram),
    )
    before, after = text.split(options.blank)
    shown = ranked[: options.top or None]
    if options.format == "jsonl":
        for filling in shown:
            console.write_json(_record(filling, before, after))
    else:
        _show(shown, ranked)


def _record(filling: "Filling", before: str, after: str) -> dict[str, object]:
    by_model = {direction: score.log_prob_nats for direction, score in filling.scores.items()}
    return {
        "candidate": filling.text,
        "text": before + filling.text + after,
        "log_prob": filling.log_prob_nats,
        "log_base": "e",
        "share": filling.share,
        "num_unknown": next(iter(filling.scores.values())).num_unknown,
        **(by_model if len(by_model) > 1 else {}),
    }


def _show(shown: "list[Filling]", ranked: "list[Filling]") -> None:
    table = console.new_table()
    table.add_column("candidate", overflow="fold")
    table.add_column("log prob", justify="right", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    directions = list(ranked[0].scores)
    for direction in directions if len(directions) > 1 else []:
        table.add_column(HEADINGS[direction], justify="right", no_wrap=True)
    for filling in shown:
        by_model = [f"{filling.scores[direction].log_prob_nats:.3f}" for direction in directions]
        table.add_row(
            filling.text,
            f"{filling.log_prob_nats:.3f}",
            f"{filling.share:.4f}",
            *(by_model if len(by_model) > 1 else []),
        )
    console.show(table)
    console.write_line("log prob: of the whole sentence, in nats; probability: among all candidates")
    if len(shown) < len(ranked):
        rest = max(0.0, 1 - sum(filling.share for filling in shown))
        console.write_line(f"remaining {console.counted(len(ranked) - len(shown), 'candidate')}: {rest:.4f}")
