"""`charnn sample --novelty`: how much of a sample is copied from the training text."""

import math
from typing import TYPE_CHECKING

import charnn
from charnn.errors import ModelError

if TYPE_CHECKING:
    from charnn.analysis.memorization import Ids, Memorization
    from charnn.sampling.streams import Sample
    from charnn.storage.model_directory import Model

SHOWN_ORDERS = (1, 2, 3, 4, 6, 8, 12, 16)
MAX_SHOWN_LENGTH = 200
"""Maximum number of characters of a copied span to show."""


def texts_to_compare(model: "Model") -> "tuple[Ids, Ids]":
    """Return the encoded training and held-out text of a model. Raises ModelError if they are missing."""
    for name in ("train.bin", "valid.bin"):
        if not (model.path / name).exists():
            raise ModelError(
                f"{model.path / name}: the encoded text to compare with is missing; restore it, or leave --novelty out"
            )
    return charnn.api.open_ids(model.path / "train.bin", model.tokenizer), charnn.api.open_ids(
        model.path / "valid.bin", model.tokenizer
    )


def measure_samples(model: "Model", samples: "dict[int, Sample]") -> "dict[int, Memorization]":
    """Compare samples with the training text of the model. Raises ModelError if it is missing."""
    training, held_out = texts_to_compare(model)
    newline_id = model.tokenizer.vocabulary.ids.get("\n")
    ids = [sample.ids for sample in samples.values()]
    return dict(
        zip(samples, charnn.api.measure_memorization(ids, training, held_out, newline_id=newline_id), strict=True)
    )


def described(novelty: "Memorization", sample: "Sample", model: "Model") -> str:
    """Return the report on one sample as text."""
    copied = novelty.copied
    total = len(sample.ids)
    if not total:
        return "novelty: the sample is empty\n"
    span = charnn.api.decode(model.tokenizer, sample.ids[copied.start : copied.start + copied.length]).replace(
        "\n", "\u23ce"
    )
    shown = span if len(span) <= MAX_SHOWN_LENGTH else span[:MAX_SHOWN_LENGTH] + "..."
    where = f", line {novelty.line:,} of the training text" if novelty.line else ""
    lines = [
        f"novelty: the longest span copied from the training text is {copied.length:,} of {total:,} tokens{where}:"
    ]
    lines.append(f"  {shown}")
    lines.append(_rates(novelty))
    lines.append(_verdict(novelty))
    return "\n".join(lines) + "\n"


def _rates(novelty: "Memorization") -> str:
    """Return the fractions of n-grams in the training text, for the sample and for held-out text."""
    orders = [order for order in SHOWN_ORDERS if not math.isnan(novelty.copied.shares[order - 1])]
    rows = ["  n-grams of".ljust(26) + "".join(f"{order:>6}" for order in orders) + "  tokens"]
    own = [novelty.copied.shares[order - 1] for order in orders]
    rows.append("  in the training text".ljust(26) + "".join(f"{100 * rate:>5.0f}%" for rate in own))
    if novelty.held_out:
        others = [novelty.held_out_share(order) for order in orders]
        label = "  of held-out text" if novelty.reference == "held-out text" else "  of the rest of it"
        rows.append(label.ljust(26) + "".join(f"{100 * rate:>5.0f}%" for rate in others))
    return "\n".join(rows)


def _verdict(novelty: "Memorization") -> str:
    length = novelty.held_out_length
    if length is None:
        return "  (the training text is too short for a comparison with other parts of it)"
    is_held_out = novelty.reference == "held-out text"
    other, rest = ("held-out text", "it") if is_held_out else ("the training text", "the rest of it")
    reference = f"{novelty.piece_length:,} tokens of {other} share at most {length:,} consecutive tokens with {rest}"
    return f"  copied: {reference}" if novelty.is_copied else f"  not copied more than usual for such text: {reference}"


def record_of(novelty: "Memorization") -> dict[str, object]:
    """Return the report on one sample as a record."""
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
