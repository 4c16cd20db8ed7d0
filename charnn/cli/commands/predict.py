"""`charnn predict`: the distribution of the next token, of a missing one, or of the word that is being written."""

import math
from typing import Annotated

import typer

import charnn
from charnn.cli.commands.loading import load_directed
from charnn.cli.commands.predict_gap import predict_gap
from charnn.cli.commands.predict_words import predict_words
from charnn.cli.options import ModelArgument, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.output.bars import add_bar, new_bar_table
from charnn.config import PredictOptions
from charnn.errors import OptionError
from charnn.options import pick, refuse_both


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

    With --complete, whole words: charnn predict "the ri" --complete.
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
        refuse_both("--complete", options.complete, f"a gap ({options.blank}) in TEXT")
        refuse_both("--label", options.label is not None, f"a gap ({options.blank}) in TEXT")
        predict_gap(text, model, options)
        return
    (loaded,) = load_directed(model, options.direction)
    loaded = charnn.api.with_label(loaded, options.label)
    if options.complete:
        predict_words(text, loaded, options)
        return

    distribution = charnn.api.next_distribution(
        loaded, text, mix_ngram=options.mix_ngram, on_unknown=options.on_unknown, top=options.top or None
    )
    if options.format == "jsonl":
        for each in distribution.tokens:
            console.write_json(each.to_dict())
        return

    table = new_bar_table("token", "id")
    for each in distribution.tokens:
        add_bar(table, [console.visible(each.token), str(each.id)], each.prob)
    console.show(table)
    if distribution.num_others:
        console.write_line(
            f"remaining {console.counted(distribution.num_others, 'token')}: {distribution.others_prob:.6f}"
        )
    entropy = distribution.entropy_nats
    console.write_line(
        f"entropy {entropy:.4f} nats, {entropy / math.log(2):.4f} bits; perplexity {math.exp(entropy):.1f}"
    )
