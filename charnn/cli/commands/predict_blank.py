"""`charnn predict` with a blank: what the token there may be."""

import charnn
from charnn.cli.commands.loading import load_all_directions
from charnn.cli.output import console
from charnn.config import PredictOptions


def fill_blank(text: str, given: str | None, options: PredictOptions) -> None:
    """Write the likeliest tokens in a text's blank, by each model that there is and by both together.

    Raises:
        CharnnError: for a model that is not there, or a text that cannot be read.
    """
    models = load_all_directions(given, options.direction)
    engines = charnn.api.engines_of(models)
    tokenizer = models[0].tokenizer
    blank = charnn.api.find_gap(tokenizer, text, options.blank, on_unknown=options.on_unknown)
    _say_what_is_not_seen(set(engines), bool(len(blank.left)), bool(len(blank.right)))
    judged = charnn.api.score_cloze(engines.get("forward"), engines.get("backward"), tokenizer, blank)
    probs, order = charnn.api.ranked_tokens(judged, options.top or None)
    deciding = probs.get("both", next(iter(probs.values())))
    tokens = tokenizer.vocabulary.tokens
    if options.format == "jsonl":
        for id in order:
            by_model = {name: float(values[id]) for name, values in probs.items()}
            console.write_json({"token": tokens[id], "id": id, "prob": float(deciding[id]), **by_model})
        return

    table = console.new_table()
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
