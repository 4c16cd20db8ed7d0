"""`charnn predict`: what would come next, and how likely."""

import math
from typing import Annotated

import typer

from charnn.cli.commands.loading import load_directed, load_mixture
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

    import numpy as np

    from charnn.inference.engine import Engine, log_softmax
    from charnn.inference.prompt import encode_prompt, read_context

    tokens = loaded.tokenizer.vocabulary.tokens
    ids = encode_prompt(loaded.tokenizer, text, on_unknown=options.on_unknown)
    engine = Engine.of(loaded)
    logits, _ = read_context(engine, loaded.tokenizer, ids)
    log_probs = log_softmax(logits)[0]
    mixture = load_mixture(loaded, options.mix_ngram)
    if mixture is not None:
        context = ids[::-1] if engine.is_backward else ids
        log_probs = mixture.log_distribution(log_probs, [loaded.tokenizer.vocabulary.boundary_id, *context.tolist()])
    probs = np.exp(log_probs)
    order = np.argsort(-probs, kind="stable")[: options.top or None].tolist()
    if options.format == "jsonl":
        for id in order:
            console.write_json({"token": tokens[id], "id": id, "prob": float(probs[id])})
        return

    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("token", no_wrap=True)
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True, min_width=len("probability"))
    table.add_column("")
    bar_width = max(4, min(BAR_WIDTH, console.output_console().width - WIDTH_OF_FIGURES))
    for id in order:
        bar = "█" * round(bar_width * float(probs[id]))
        table.add_row(console.visible(tokens[id]), str(id), f"{probs[id]:.6f}", bar)
    console.show(table)
    rest = max(0.0, 1 - float(probs[order].sum()))
    if len(order) < len(tokens):
        console.write_line(f"the other {len(tokens) - len(order):,} tokens share {rest:.6f}")
    entropy = -float(np.sum(probs * np.where(probs > 0, log_probs, 0.0)))
    console.write_line(
        f"entropy {entropy:.4f} nats, {entropy / math.log(2):.4f} bits: as open as an even choice among {math.exp(entropy):.1f}"
    )
