"""Text as the context of a model: its ids after the boundary, its unknown tokens, and the model's state after it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charnn.config import OnUnknown
from charnn.errors import UnknownTokenError
from charnn.inference.engine import Engine, EngineState, Floats
from charnn.inference.stepper import READ_AT_ONCE, Stepper, stepper_for
from charnn.text.bins import is_of_numbers
from charnn.text.characters import is_escaped_byte
from charnn.text.tokenizers import Token, Tokenizer

SPACES = " \t"
TOKENS_PER_CHECK = 4 * READ_AT_ONCE
"""Tokens that are read at once; a multiple of the stepper's number, so that the result does not depend on it."""
MAX_LAST_WORD = 1000
"""Maximum length of the last word of a text; the search for it must not take long."""
REMEDY = ", or pass --on-unknown skip or --on-unknown unk"


def encode_prompt(
    tokenizer: Tokenizer,
    text: str,
    *,
    on_unknown: OnUnknown,
    offset: int = 0,
    name: str = "prompt",
    remedy: str = REMEDY,
) -> npt.NDArray[np.int64]:
    """Return a prompt's ids (N,).

    A missing value of a series of numbers is read as in training, if there were any.

    Args:
        offset: characters that the user gave before it.
        name: its source, for messages.
        remedy: what a user can do about unknown tokens besides changing the text.

    Raises:
        UnknownTokenError: naming the first unknown token and its position, where `on_unknown` is "error".
    """
    ids = tokenizer.encode(text)
    unknown = tokenizer.vocabulary.unknown_id
    if unknown is None or not np.any(ids == unknown) or on_unknown == "unk":
        return ids
    if on_unknown == "error" and is_of_numbers(tokenizer):
        if tokenizer.vocabulary.counts[unknown]:
            return ids
        raise UnknownTokenError(
            f"{name}: value {np.flatnonzero(ids == unknown)[0] + 1:,} of {len(ids):,} is missing, but none was in the series "
            f"from which the model's bins were learned; fill it in{remedy}"
        )
    if on_unknown == "error":
        raise _unknown_token(tokenizer, text, unknown, offset, name, remedy)
    known: npt.NDArray[np.int64] = ids[ids != unknown]
    return known


def without_trailing_space(tokenizer: Tokenizer, text: str) -> str:
    """Return a prompt without the single space at its end that word and subword models generate with the next word."""
    if tokenizer.kind not in ("word", "subword") or not text.endswith(" "):
        return text
    stripped = text[:-1]
    return text if not stripped or stripped[-1].isspace() else stripped


def stable_beginning(tokenizer: Tokenizer, text: str) -> str:
    """Return the beginning of a text whose tokens stay the same if the text is continued: all but its last word."""
    if tokenizer.kind in ("char", "byte"):
        return text
    words = text.rstrip()
    last_word = "".join(words[-MAX_LAST_WORD:].split()[-1:])
    return words.removesuffix(last_word).rstrip()


def _unknown_token(
    tokenizer: Tokenizer, text: str, unknown: int, offset: int, prompt: str, remedy: str
) -> UnknownTokenError:
    tokens = tokenizer.tokenize(text)
    first = next(token for token in tokens if token.id == unknown)
    num_unknown = sum(token.id == unknown for token in tokens)
    others = f" (and {num_unknown - 1} more)" if num_unknown > 1 else ""
    name = "character" if tokenizer.kind == "char" else "token"
    if text[first.start : first.start + 2] == "\\n":
        remedy = ", or give a line end as such: in a --prompt-file, or in a shell as $'first\\nsecond'"
    position = max(1, offset + first.start + 1)  # a word may begin before the text
    return UnknownTokenError(
        f"{prompt}: {name} {_spelled(first)} at position {position} is not in the model's vocabulary of "
        f"{len(tokenizer.vocabulary):,}{others}; change it{remedy}"
    )


def _spelled(token: Token) -> str:
    if is_escaped_byte(token.text):
        return f"{token.text!r} (a byte that is not UTF-8)"
    code_point = f" (U+{ord(token.text):04X})" if len(token.text) == 1 else ""
    return f"{token.text!r}{code_point}"


@dataclass(frozen=True)
class PromptState:
    """A model's state after some text, from the opening boundary on.

    Args:
        ids: the boundary and the text.
        logits: of the next token (1, V).
        state: the hidden state of one stream.
    """

    ids: list[int]
    logits: Floats
    state: EngineState


def prefill(
    stepper: Stepper,
    tokenizer: Tokenizer,
    ids: npt.NDArray[np.int64],
    *,
    known: PromptState | None = None,
    check: Callable[[], object] | None = None,
) -> PromptState:
    """Read a text, from the opening boundary on.

    Args:
        stepper: of one stream that has read nothing yet; it is left as it is.
        ids: the text (N,), possibly empty.
        known: the state after some text; if `ids` begins with it, only the rest is read.
        check: called before each chunk; it may raise an error, if the result is no longer needed.
    """
    all_ids = [tokenizer.vocabulary.boundary_id, *ids.tolist()]
    if known is None or known.ids != all_ids[: len(known.ids)]:
        known = PromptState([], np.zeros((1, 0), dtype=np.float32), stepper.state())
    new_ids = all_ids[len(known.ids) :]
    if not new_ids:
        return known
    reader, logits = stepper.fork(known.state), known.logits
    for first in range(0, len(new_ids), TOKENS_PER_CHECK):
        if check is not None:
            check()
        logits = reader.read(np.array(new_ids[first : first + TOKENS_PER_CHECK], dtype=np.int64))
    return PromptState(all_ids, logits.copy(), reader.state())


def read_context(engine: Engine, tokenizer: Tokenizer, ids: npt.NDArray[np.int64]) -> tuple[Floats, EngineState]:
    """Read a text from the opening boundary on; for a model that reads from right to left, from the closing one.

    Args:
        ids: the text (N,), possibly empty.

    Returns:
        The logits (1, V) of what follows, and the state of the one stream.
    """
    state = prefill(stepper_for(engine, engine.initial_state()), tokenizer, ids[::-1] if engine.is_backward else ids)
    return state.logits, state.state


def context_segments(boundary_id: int, ids: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Yield the input ids (T, 1) of a text in segments, with the position of the first token of each."""
    contexts = np.concatenate(([boundary_id], ids))[: len(ids)].astype(np.int64)
    for first in range(0, len(contexts), READ_AT_ONCE):
        yield contexts[first : first + READ_AT_ONCE, None], first


def outputs_of_layers(engine: Engine, boundary_id: int, ids: npt.NDArray[np.int64]) -> list[npt.NDArray[np.float64]]:
    """Return the outputs of each recurrent layer after each token of a text (T, H), the lowest layer first."""
    _, state = engine.step(np.array([boundary_id]), engine.initial_state())
    num_layers = engine.architecture.num_layers
    outputs: list[list[Floats]] = [[] for _ in range(num_layers)]
    for id in ids.tolist():
        _, state = engine.step(np.array([id]), state)
        for layer in range(num_layers):
            outputs[layer].append(np.array(state[layer][0][0], dtype=np.float32))
    sizes = [engine.architecture.layer_sizes(layer)[1] for layer in range(num_layers)]
    return [np.array(rows, dtype=np.float64).reshape(-1, size) for rows, size in zip(outputs, sizes, strict=True)]
