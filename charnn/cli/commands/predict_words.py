"""`charnn predict --complete`: the words that may complete a text, or follow it."""

from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console
from charnn.cli.output.bars import add_bar, new_bar_table
from charnn.config import PredictOptions

if TYPE_CHECKING:
    from charnn.storage.model_directory import Model


def predict_words(text: str, model: "Model", options: PredictOptions) -> None:
    """Write the most probable words for the end of a text. Raises CharnnError."""
    mixture = charnn.api.read_mixture(model) if options.mix_ngram else None
    completer = charnn.api.WordCompleter(model, mixture=mixture)
    found = completer.complete(text, top=options.top or None, on_unknown=options.on_unknown)
    if options.format == "jsonl":
        for each in found.words:
            console.write_json(each.to_dict())
        return
    table = new_bar_table("word", "completion")
    for each in found.words:
        add_bar(table, [console.visible(each.word), console.visible(each.completion)], each.prob)
    console.show(table)
    console.write_line(f"everything else: {found.others_prob:.6f}")
