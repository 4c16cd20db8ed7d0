"""`charnn predict`: the distribution of the next token, or of a missing one."""

import math
from typing import Annotated

import typer

import charnn
from charnn.cli.commands.loading import load_directed
from charnn.cli.commands.predict_gap import predict_gap
from charnn.cli.options import ModelArgument, Overrides, with_options
from charnn.cli.output import console
from charnn.config import PredictOptions
from charnn.errors import OptionError
from charnn.options import pick, refuse_both

BAR_WIDTH, WIDTH_OF_NUMBERS = 40, 36


@with_options(PredictOptions)
def predict(
    text: Annotated[
        str, typer.Argument(help="The context, empty for the beginning of a text; ____ marks a missing token.")
    ],
    model: ModelArgument = None,
    *,
    overrides: Overrides,
) -> None:
    """Show the next token's distribution: charnn predict "The cats, which already ate, ".

    A gap in the text, ____, is one missing token: a forward model predicts it from the left context, a backward model from the
    right, and a bidirectional model from both.

    The <unk> token stands for everything that is not in the vocabulary; with it the probabilities sum to 1.
    It is never proposed for a gap.
    """
    options = pick(PredictOptions, overrides)
    has_gap = bool(options.blank) and options.blank in text
    if options.direction == "both" and not has_gap:
        raise OptionError(
            f"--direction both: found no gap ({options.blank or '--blank'}) in TEXT to predict from both sides; "
            "add one, or choose a direction"
        )
    if has_gap:
        refuse_both("--mix-ngram", options.mix_ngram, f"a gap ({options.blank}) in TEXT")
        predict_gap(text, model, options)
        return
    (loaded,) = load_directed(model, options.direction)

    distribution = charnn.api.next_distribution(
        loaded, text, mix_ngram=options.mix_ngram, on_unknown=options.on_unknown, top=options.top or None
    )
    if options.format == "jsonl":
        for each in distribution.tokens:
            console.write_json(each.to_dict())
        return

    table = console.new_table()
    table.add_column("token", no_wrap=True)
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True, min_width=len("probability"))
    table.add_column("")
    bar_width = max(4, min(BAR_WIDTH, console.output_console().width - WIDTH_OF_NUMBERS))
    for each in distribution.tokens:
        bar = "█" * round(bar_width * each.prob)
        table.add_row(console.visible(each.token), str(each.id), f"{each.prob:.6f}", bar)
    console.show(table)
    if distribution.num_others:
        console.write_line(
            f"remaining {console.counted(distribution.num_others, 'token')}: {distribution.others_prob:.6f}"
        )
    entropy = distribution.entropy_nats
    console.write_line(
        f"entropy {entropy:.4f} nats, {entropy / math.log(2):.4f} bits; perplexity {math.exp(entropy):.1f}"
    )
