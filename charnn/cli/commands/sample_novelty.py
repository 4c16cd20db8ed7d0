"""`charnn sample --novelty`: how much of what was written is copied."""

import math
from typing import TYPE_CHECKING, Any

import charnn
from charnn.errors import ModelError

if TYPE_CHECKING:
    from charnn.analysis.memorization import Ids, Memorization
    from charnn.sampling.streams import Sample
    from charnn.storage.model_directory import Model

SHOWN_ORDERS = (1, 2, 3, 4, 6, 8, 12, 16)
LONGEST_SHOWN = 200
"""Characters of a copied span that are shown."""


def texts_to_compare(model: "Model") -> "tuple[Ids, Ids]":
    """Return the encoded training and held-out text beside a model. Raises ModelError where they are not there."""

    for name in ("train.bin", "valid.bin"):
        if not (model.path / name).exists():
            raise ModelError(
                f"{model.path / name}: is missing, the encoded text to compare with; restore it, or leave --novelty out"
            )
    return charnn.api.open_ids(model.path / "train.bin", model.tokenizer), charnn.api.open_ids(
        model.path / "valid.bin", model.tokenizer
    )


def measure_samples(model: "Model", samples: "dict[int, Sample]") -> "dict[int, Memorization]":
    """Compare samples with the training text beside the model. Raises ModelError where that is not there."""
    training, held_out = texts_to_compare(model)
    newline_id = model.tokenizer.vocabulary.ids.get("\n")
    ids = [drawn.ids for drawn in samples.values()]
    return dict(
        zip(samples, charnn.api.measure_memorization(ids, training, held_out, newline_id=newline_id), strict=True)
    )


def described(novelty: "Memorization", drawn: "Sample", model: "Model") -> str:
    """Return the report on one sample, for people."""

    copied = novelty.copied
    total = len(drawn.ids)
    if not total:
        return "novelty: nothing was written\n"
    span = charnn.api.decode(model.tokenizer, drawn.ids[copied.start : copied.start + copied.length]).replace(
        "\n", "\u23ce"
    )
    shown = span if len(span) <= LONGEST_SHOWN else span[:LONGEST_SHOWN] + "..."
    where = f", line {novelty.line:,} of the training text" if novelty.line else ""
    lines = [
        f"novelty: the longest span copied from the training text has {copied.length:,} of {total:,} tokens{where}:"
    ]
    lines.append(f"  {shown}")
    lines.append(_shares(novelty))
    lines.append(_verdict(novelty))
    return "\n".join(lines) + "\n"


def _shares(novelty: "Memorization") -> str:
    """Return two rows of figures: of the sample, and of held-out text."""
    orders = [order for order in SHOWN_ORDERS if not math.isnan(novelty.copied.shares[order - 1])]
    rows = ["  n-grams of".ljust(26) + "".join(f"{order:>6}" for order in orders) + "  tokens"]
    own = [novelty.copied.shares[order - 1] for order in orders]
    rows.append("  in the training text".ljust(26) + "".join(f"{100 * share:>5.0f}%" for share in own))
    if novelty.held_out:
        others = [novelty.held_out_share(order) for order in orders]
        label = "  of held-out text" if novelty.reference == "held-out text" else "  of the rest of it"
        rows.append(label.ljust(26) + "".join(f"{100 * share:>5.0f}%" for share in others))
    return "\n".join(rows)


def _verdict(novelty: "Memorization") -> str:
    length = novelty.held_out_length
    if length is None:
        return "  (the training text is too short to compare this with other parts of it)"
    is_held_out = novelty.reference == "held-out text"
    other, rest = ("held-out text", "it") if is_held_out else ("other parts of it", "the rest")
    reference = f"{other}, {novelty.piece_length:,} tokens of it, has at most {length:,} in a row in common with {rest}"
    return (
        f"  it copies: {reference}"
        if novelty.is_copied
        else f"  it does not copy more than a text of its kind: {reference}"
    )


def record_of(novelty: "Memorization") -> dict[str, Any]:
    """Return the report on one sample, for scripts."""
    copied = novelty.copied
    return {
        "longest_copied": copied.length,
        "start": copied.start,
        "training_place": copied.place,
        "training_line": novelty.line,
        "longest_of_held_out": novelty.held_out_length,
        "reference": novelty.reference,
        "is_copied": novelty.is_copied,
        "shares": list(copied.shares),
        "held_out_shares": [novelty.held_out_share(order) for order in range(1, len(copied.shares) + 1)],
    }
