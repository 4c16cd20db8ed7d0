"""`charnn predict` with a gap: the distribution of the missing token."""

import charnn
from charnn.cli.commands.loading import load_all_directions
from charnn.cli.output import console
from charnn.config import PredictOptions


def predict_gap(text: str, named: str | None, options: PredictOptions) -> None:
    """Write the most probable tokens for the gap in a text, by each model and by both combined.

    Args:
        named: the model directory, None for the newest.

    Raises:
        CharnnError: if the model is missing, or the text cannot be encoded.
    """
    models = load_all_directions(named, options.direction)
    engines = charnn.api.engines_of(models)
    tokenizer = models[0].tokenizer
    gap = charnn.api.find_gap(tokenizer, text, options.blank, on_unknown=options.on_unknown)
    _notice_unused_context(set(engines), bool(len(gap.left)), bool(len(gap.right)))
    scores = charnn.api.score_cloze(engines.get("forward"), engines.get("backward"), tokenizer, gap)
    probs, order = charnn.api.ranked_tokens(scores, tokenizer.vocabulary, options.top or None)
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
        console.write_line(f"remaining {console.counted(len(tokens) - len(order), 'token')}: {rest:.6f}")


def _notice_unused_context(directions: set[str], has_left: bool, has_right: bool) -> None:
    """Tell the user which side of the gap a unidirectional model ignores."""
    if directions == {"forward"} and has_right:
        console.notice(
            "a forward model ignores the text after the gap; train a bidirectional model with --direction both"
        )
    if directions == {"backward"} and has_left:
        console.notice(
            "a backward model ignores the text before the gap; train a bidirectional model with --direction both"
        )
