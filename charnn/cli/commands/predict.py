"""`charnn predict`: what would come next, and how likely."""

import math
from typing import Annotated

import typer

import charnn
from charnn.cli.commands.loading import load_directed
from charnn.cli.commands.predict_blank import fill_blank
from charnn.cli.options import Given, ModelArgument, with_options
from charnn.cli.output import console
from charnn.config import PredictOptions
from charnn.errors import OptionError
from charnn.options import pick, refuse_both

BAR_WIDTH, WIDTH_OF_FIGURES = 40, 36


@with_options(PredictOptions)
def predict(
    text: Annotated[str, typer.Argument(help="The context; empty for the start of a text; with ____ for a blank.")],
    model: ModelArgument = None,
    *,
    given: Given,
) -> None:
    """Show the next token's distribution: charnn predict "The cats, which already ate, ".

    A blank in the text, ____, is one missing token: it is judged from the left, and by a model that reads backward, or a pair,
    from the right and from both sides.

    The <unk> token stands for everything that the vocabulary lacks; with it the probabilities sum to 1.
    """
    options = pick(PredictOptions, given)
    has_blank = bool(options.blank) and options.blank in text
    if options.direction == "both" and not has_blank:
        raise OptionError(
            f"--direction both: found no blank ({options.blank or '--blank'}) in TEXT, which two models could judge; "
            "put one in, or choose a direction"
        )
    if has_blank:
        refuse_both("--mix-ngram", options.mix_ngram, f"a blank ({options.blank}) in TEXT")
        fill_blank(text, model, options)
        return
    (loaded,) = load_directed(model, options.direction)

    found = charnn.api.next_distribution(
        loaded, text, mix_ngram=options.mix_ngram, on_unknown=options.on_unknown, top=options.top or None
    )
    if options.format == "jsonl":
        for each in found.tokens:
            console.write_json(each.to_dict())
        return

    table = console.new_table()
    table.add_column("token", no_wrap=True)
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True, min_width=len("probability"))
    table.add_column("")
    bar_width = max(4, min(BAR_WIDTH, console.output_console().width - WIDTH_OF_FIGURES))
    for each in found.tokens:
        bar = "█" * round(bar_width * each.prob)
        table.add_row(console.visible(each.token), str(each.id), f"{each.prob:.6f}", bar)
    console.show(table)
    if found.num_others:
        console.write_line(f"the other {found.num_others:,} tokens share {found.others_prob:.6f}")
    entropy = found.entropy_nats
    console.write_line(
        f"entropy {entropy:.4f} nats, {entropy / math.log(2):.4f} bits: as open as an even choice among {math.exp(entropy):.1f}"
    )
