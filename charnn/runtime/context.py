"""Text as the context of a model: its ids after the boundary, unknown tokens dealt with as the user wishes."""

import numpy as np
import numpy.typing as npt

from charnn.config import OnUnknown
from charnn.errors import UnknownTokenError
from charnn.runtime.engine import Engine, EngineState, Floats
from charnn.text.tokenizers import Token, Tokenizer

CONTEXT_CHUNK = 256
"""Tokens of a prompt that are read at once."""


def encode_prompt(tokenizer: Tokenizer, text: str, *, on_unknown: OnUnknown, offset: int = 0) -> npt.NDArray[np.int64]:
    """Return a prompt's ids (N,).

    Args:
        offset: characters that the user gave before it.

    Raises:
        UnknownTokenError: naming the first unknown token and its place, where `on_unknown` is "error".
    """
    ids = tokenizer.encode(text)
    unknown = tokenizer.vocabulary.unknown_id
    if unknown is None or not np.any(ids == unknown) or on_unknown == "unk":
        return ids
    if on_unknown == "error":
        raise _unknown_token(tokenizer, text, unknown, offset)
    known: npt.NDArray[np.int64] = ids[ids != unknown]
    return known


def _unknown_token(tokenizer: Tokenizer, text: str, unknown: int, offset: int) -> UnknownTokenError:
    tokens = tokenizer.tokenize(text)
    first = next(token for token in tokens if token.id == unknown)
    num_unknown = sum(token.id == unknown for token in tokens)
    others = f" (and {num_unknown - 1} more)" if num_unknown > 1 else ""
    name = "character" if tokenizer.kind == "char" else "token"
    return UnknownTokenError(
        f"prompt: {name} {_spelled(first)} at position {offset + first.start + 1} is not in the model's vocabulary of "
        f"{len(tokenizer.vocabulary):,}{others}; change it, or pass --on-unknown skip or --on-unknown unk"
    )


def _spelled(token: Token) -> str:
    code_point = f" (U+{ord(token.text):04X})" if len(token.text) == 1 else ""
    return f"{token.text!r}{code_point}"


def read_context(engine: Engine, tokenizer: Tokenizer, ids: npt.NDArray[np.int64]) -> tuple[Floats, EngineState]:
    """Read a text from the opening boundary on; for a model that reads from right to left, from the closing one.

    Args:
        ids: the text (N,), possibly empty.

    Returns:
        The logits (1, V) of what follows, and the state of the one stream.
    """
    if engine.is_backward:
        ids = ids[::-1]
    context = np.concatenate([[tokenizer.vocabulary.boundary_id], ids])
    state = engine.initial_state(1)
    for first in range(0, len(context), CONTEXT_CHUNK):
        outputs, state = engine.forward(context[first : first + CONTEXT_CHUNK, None], state)
    return engine.logits(outputs[-1]), state
