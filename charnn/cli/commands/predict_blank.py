"""`charnn predict` with a blank: what the token there may be."""

from typing import TYPE_CHECKING

from charnn.cli.commands.loading import load_directed
from charnn.cli.output import console
from charnn.config import PredictOptions
from charnn.config.model import Direction

if TYPE_CHECKING:
    from charnn.storage.model_directory import Model


def fill_blank(text: str, given: str | None, options: PredictOptions) -> None:
    """Write the likeliest tokens in a text's blank, by each model that there is and by both together.

    Raises:
        CharnnError: for a model that is not there, or a text that cannot be read.
    """
    import numpy as np

    from charnn.inference.engine import Engine
    from charnn.scoring.cloze import find_blank, judge_blank

    models = models_that_judge(given, options.direction)
    engines = {model.architecture.direction: Engine.of(model) for model in models}
    tokenizer = models[0].tokenizer
    blank = find_blank(tokenizer, text, options.blank, on_unknown=options.on_unknown)
    _say_what_is_not_seen(set(engines), bool(len(blank.left)), bool(len(blank.right)))
    judged = judge_blank(engines.get("forward"), engines.get("backward"), tokenizer, blank)
    probs = {name: np.exp(log_probs) for name, log_probs in judged.items()}
    deciding = probs["both"] if "both" in probs else next(iter(probs.values()))
    order = np.argsort(-deciding, kind="stable")[: options.top or None].tolist()
    tokens = tokenizer.vocabulary.tokens
    if options.format == "jsonl":
        for id in order:
            by_model = {name: float(values[id]) for name, values in probs.items()}
            console.write_json({"token": tokens[id], "id": id, "prob": float(deciding[id]), **by_model})
        return

    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("token", no_wrap=True)
    table.add_column("id", justify="right", no_wrap=True)
    headings = {"forward": "from the left", "backward": "from the right", "both": "from both sides"}
    for name in probs:
        table.add_column(headings[name], justify="right", no_wrap=True)
    for id in order:
        table.add_row(console.visible(tokens[id]), str(id), *(f"{values[id]:.6f}" for values in probs.values()))
    console.show(table)
    if len(order) < len(tokens):
        rest = max(0.0, 1 - float(deciding[order].sum()))
        console.write_line(f"the other {len(tokens) - len(order):,} tokens share {rest:.6f}")


def _say_what_is_not_seen(directions: set[str], has_left: bool, has_right: bool) -> None:
    """Tell a user who has one model only on which side of the blank it is blind."""
    if directions == {"forward"} and has_right:
        console.notice("a forward model does not see what follows the blank; train a pair with --direction both")
    if directions == {"backward"} and has_left:
        console.notice("a backward model does not see what stands before the blank; train a pair with --direction both")


def models_that_judge(given: str | None, direction: Direction | None) -> "list[Model]":
    """Return the models that are to judge: those of the wished direction, or all that there are."""
    from charnn.storage.model_directory import BACKWARD, is_model

    if direction is not None:
        return load_directed(given, direction)
    (model,) = load_directed(given, None)
    if model.architecture.direction == "forward" and is_model(model.path / BACKWARD):
        return load_directed(str(model.path), "both")
    return [model]
