"""The sizes of a network, chosen by the text, the time budget and the device where left open, and checked for consistency."""

from dataclasses import replace

from charnn.config import Architecture, ModelOptions
from charnn.errors import OptionError
from charnn.options import refuse_unused

_HIDDEN_SIZE_BY_SECONDS = ((40, 128), (70, 192), (150, 256), (1200, 384), (float("inf"), 512))
MAX_ONE_HOT_VOCAB_SIZE = 4096
MOGRIFIER_ROUNDS = 5
ATTENTION_WINDOW = 256
MIN_ATTENTION_SIZE, ATTENTION_FRACTION = 16, 4
"""The head of attention has a quarter of the size of the top layer, and at least this many units."""


def resolve_architecture(
    options: ModelOptions, *, kind: str, vocab_size: int, num_tokens: int, seconds: float | None, device: str
) -> Architecture:
    """Choose the sizes that were left open.

    Args:
        options: as given.
        kind: of the tokenizer.
        vocab_size: tokens in the vocabulary.
        num_tokens: length of the training text.
        seconds: the time budget; None for a budget of steps or epochs.
        device: cpu or cuda.

    Raises:
        OptionError: if the sizes are inconsistent.
    """
    budget = 120.0 if seconds is None else seconds * (20 if device == "cuda" else 1)
    hidden_size = next(size for limit, size in _HIDDEN_SIZE_BY_SECONDS if budget <= limit)
    if num_tokens < 60_000:
        hidden_size = min(hidden_size, 128)
    elif num_tokens < 400_000:
        hidden_size = min(hidden_size, 256)
    one_hot = options.inputs == "one-hot"
    if one_hot and vocab_size > MAX_ONE_HOT_VOCAB_SIZE:
        raise OptionError(
            f"--inputs one-hot: found {vocab_size:,} tokens in the vocabulary, but more than {MAX_ONE_HOT_VOCAB_SIZE:,} zeros "
            "per token would fill the memory; use --inputs embedding, or a smaller --vocab-size"
        )
    hidden_size = options.hidden_size or (options.tie_weights and options.embedding_size) or hidden_size
    embedding_size = options.embedding_size or (
        hidden_size if options.tie_weights else min(hidden_size, 128 if vocab_size <= 1000 else 256)
    )
    num_layers = options.num_layers or (
        2 if device == "cuda" or options.cell == "depth-lstm" or options.residual else 1
    )
    is_mogrifier = options.cell == "mogrifier"
    architecture = Architecture(
        cell=options.cell,
        vocab_size=vocab_size,
        embedding_size=1 if one_hot else embedding_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        tie_weights=options.tie_weights,
        embedding_order=1 if one_hot else options.embedding_order or (3 if kind in ("char", "byte") else 1),
        inputs=options.inputs,
        residual=options.residual,
        skip=options.skip,
        nonlinearity=options.nonlinearity,
        mogrifier_rounds=(options.mogrifier_rounds or MOGRIFIER_ROUNDS) if is_mogrifier else 0,
        mogrifier_rank=(options.mogrifier_rank or 0) if is_mogrifier else 0,
        initial_state=options.initial_state,
        direction="backward" if options.direction == "backward" else "forward",
    )
    if options.attention != "none":
        architecture = replace(
            architecture,
            attention_window=options.attention_window or ATTENTION_WINDOW,
            attention_size=max(MIN_ATTENTION_SIZE, architecture.output_size // ATTENTION_FRACTION),
        )
    _check_sizes(architecture)
    return architecture


def _check_sizes(shape: Architecture) -> None:
    """Raise OptionError if the sizes are inconsistent."""
    refuse_unused("--cell depth-lstm", shape.cell == "depth-lstm" and shape.num_layers == 1, "--num-layers 2 or more")
    if shape.output_size == shape.hidden_size:
        return
    sizes = f"--embedding-size {shape.embedding_size} and --hidden-size {shape.hidden_size}"
    if shape.num_layers == 1:
        raise OptionError(
            f"--tie-weights: found {sizes}, but with one layer the sizes must agree; leave one of them out, or give more layers"
        )
    if shape.residual or shape.cell == "depth-lstm":
        why = "--residual" if shape.residual else "--cell depth-lstm"
        raise OptionError(
            f"--tie-weights: found {sizes} with {why}, where all layers must be of one size; leave one of them out"
        )
