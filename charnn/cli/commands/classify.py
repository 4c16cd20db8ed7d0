"""`charnn classify`: P(label | text) by Bayes' rule, from a model with labels."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

import charnn
from charnn.cli.commands.loading import load_model
from charnn.cli.options import COMMON, ModelArgument, Overrides, with_options
from charnn.cli.output import console
from charnn.config import ClassifyOptions
from charnn.errors import OptionError
from charnn.options import pick, refuse_both

if TYPE_CHECKING:
    from charnn.scoring.classification import Classification
    from charnn.storage.model_directory import Model

BAR_WIDTH, WIDTH_OF_NUMBERS = 40, 46
TOP_OF_ONE = 10


@with_options(ClassifyOptions)
def classify(
    text: Annotated[
        str | None, typer.Argument(help="The text.", show_default="the lines or documents of standard input")
    ] = None,
    model: ModelArgument = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="FILE", help="Classify each line (or document, as in training) of a file, - for stdin."
        ),
        COMMON,
    ] = None,
    *,
    overrides: Overrides,
) -> None:
    """Classify a text by its label, with a model of labels: charnn classify "Speak, speak.".

    The model was trained with --label-from. P(label | text) is proportional to P(label) P(text | label), by the network
    and an n-gram model of each label, which were weighted on held-out texts; charnn info shows the accuracy there.
    """
    options = pick(ClassifyOptions, overrides)
    refuse_both("--file", None not in (text, file), "a TEXT")
    if text is None and file is None and sys.stdin is not None and sys.stdin.isatty():
        raise OptionError("TEXT: found none; name a text to classify, or a file with --file")
    loaded = load_model(model)
    texts = [text] if text is not None else _read(loaded, file or "-", options)
    results = charnn.api.classify(loaded, texts, prior=options.prior, flag="-m")
    top = options.top if options.top is not None else 1 if text is None else TOP_OF_ONE
    if options.format == "table" and text is not None:
        _show_one(results[0], top)
        return
    rows = [
        (number, label, probability, given)
        for number, (given, result) in enumerate(zip(texts, results, strict=True), start=1)
        for label, probability in list(result.probs.items())[: top or None]
    ]
    if options.format == "table":
        table = console.new_table()
        for heading in ("label", "probability", "text"):
            table.add_column(
                heading, no_wrap=heading != "text", justify="right" if heading == "probability" else "left"
            )
        for _, label, probability, given in rows:
            table.add_row(console.visible_line(label), f"{probability:.4f}", console.visible_line(given))
        console.show(table)
    elif options.format == "tsv":
        console.write_line("\t".join(("number", "label", "prob", "text")))
        for row in rows:
            console.write_line(charnn.api.tab_separated(*row))
    else:
        for number, label, probability, given in rows:
            record = {"number": number, "text": given, "label": label, "prob": probability}
            console.write_json(record | {"log_prob": results[number - 1].log_likelihoods[label], "log_base": "e"})


def _read(model: "Model", file: str, options: ClassifyOptions) -> list[str]:
    """Return the units of a file that are not blank. Raises TextError if there is none."""
    unit = model.tokenizer.unit
    read = charnn.api.read_units(
        [file], model.tokenizer, unit="line" if unit == "stream" else unit, encoding=options.encoding
    )
    texts = [each for each in read if each.strip()]
    if not texts:
        raise charnn.api.empty_text_error([file], "there is nothing to classify")
    return texts


def _show_one(result: "Classification", top: int) -> None:
    shown = list(result.probs.items())[: top or None]
    width = console.output_console().width - WIDTH_OF_NUMBERS - max(len(label) for label, _ in shown)
    bar_width = max(4, min(BAR_WIDTH, width))
    table = console.new_table()
    table.add_column("label", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("log P(text | label)", justify="right", no_wrap=True)
    table.add_column("")
    for label, probability in shown:
        bar = "█" * round(bar_width * probability)
        table.add_row(console.visible_line(label), f"{probability:.4f}", f"{result.log_likelihoods[label]:.2f}", bar)
    console.show(table)
    others = len(result.probs) - len(shown)
    if others:
        rest = max(0.0, 1 - sum(probability for _, probability in shown))
        console.write_line(f"remaining {console.counted(others, 'label')}: {rest:.4f}")
