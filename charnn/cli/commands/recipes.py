"""`charnn recipes`: published settings for `charnn train --recipe`."""

import math
from typing import Annotated

import typer

import charnn
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.config import ModelOptions
from charnn.options import pick

VOCABULARIES = {"word": 10_000, "char": 50, "tune": 137}
"""The vocabulary sizes for which the number of parameters is shown: those of Penn Treebank, and of folk-rnn's tunes."""


@with_options()
def recipes(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON record per recipe."), COMMON] = False,
    *,
    overrides: Overrides,  # noqa: ARG001 (it has no options of its own)
) -> None:
    """List recipes: published settings, their size and source."""
    table = console.new_table()
    table.add_column("recipe", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("made for", no_wrap=True)
    table.add_column("description and source")
    for name in charnn.api.recipe_names():
        recipe = charnn.api.load_recipe(name)
        num_parameters = _num_parameters(recipe.options)
        if json:
            console.write_json(
                {
                    "recipe": name,
                    "num_parameters": num_parameters,
                    "gpu": recipe.needs_gpu,
                    "about": recipe.about,
                    "source": recipe.source,
                    "guess": recipe.guess,
                    "options": recipe.options,
                }
            )
        else:
            made_for = "GPU" if recipe.needs_gpu else "CPU"
            guess = f" Our guess: {recipe.guess}." if recipe.guess else ""
            text = f"{recipe.about}. {recipe.source.removesuffix('?')}.{guess}"
            table.add_row(name, f"{num_parameters / 1e6:.1f} M", made_for, text)
    if not json:
        console.show(table)
        console.write_line(
            "parameters: for a vocabulary of 10,000 words, 50 characters, or 137 tokens of tunes. "
            "To use one: charnn train TEXT --recipe NAME"
        )


def _num_parameters(options: dict[str, object]) -> int:
    kind = str(options["tokenizer"])
    architecture = charnn.api.resolve_architecture(
        pick(ModelOptions, options),
        kind=kind,
        vocab_size=VOCABULARIES["tune" if options.get("unit") == "tune" else kind],
        num_tokens=10**6,
        seconds=None,
        device="cpu",
    )
    return sum(math.prod(shape) for shape in charnn.api.expected_shapes(architecture).values())
