"""The vocabulary: tokens, ids and counts, with two special tokens: <unk> and the boundary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

UNKNOWN = "<unk>"
DOCUMENT_BOUNDARY = "</s>"
NEWLINE = "\n"
SPACE_SYMBOL = "\u2581"
"""The symbol of SentencePiece for a space."""

MAX_RARE_FRACTION = 0.01
"""If no token of a corpus is unknown, the rarest tokens, up to this fraction of it, are replaced by <unk> in training ..."""
REPLACEMENT_PROBABILITY = 0.01
"""... with this probability, sampled in each epoch: at most one token in ten thousand."""


_STAND_INS = {"\u2581": "\ufdd1", "\u2585": "\ufdd2"}  # code points that are permanently not characters
_ESCAPES = str.maketrans(_STAND_INS | dict.fromkeys(_STAND_INS.values(), "\ufffd"))
_PIECE_TEXTS = str.maketrans({SPACE_SYMBOL: " "} | {stand_in: symbol for symbol, stand_in in _STAND_INS.items()})


def escaped_symbols(text: str) -> str:
    """Return a text with stand-ins for the two characters that SentencePiece reserves: for a space and for unknown ones."""
    return text if text.isascii() else text.translate(_ESCAPES)


def as_text(token: str, kind: str = "subword") -> str:
    """Return a token's name; a subword's with spaces for SentencePiece's space symbol.

    Args:
        kind: that of the tokenizer.
    """
    return token.translate(_PIECE_TEXTS) if kind == "subword" else token


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in id order.

    Args:
        tokens: each token's text, by id.
        counts: count of each token in the training text.
        boundary_id: the token that opens and closes a unit; the newline in a stream and in lines.
        unknown_id: the id of <unk>, or None if no token can be unknown (bytes).
    """

    tokens: tuple[str, ...]
    counts: tuple[int, ...]
    boundary_id: int
    unknown_id: int | None
    ids: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", {token: id for id, token in enumerate(self.tokens)})

    def __len__(self) -> int:
        return len(self.tokens)

    def id_of(self, token: str) -> int:
        """Return a token's id, that of <unk> for an unknown one."""
        id = self.ids.get(token, self.unknown_id)
        if id is None:
            raise KeyError(token)
        return id

    @property
    def dtype(self) -> npt.DTypeLike:
        """The smallest unsigned integer that holds every id."""
        return np.min_scalar_type(len(self) - 1)


class Token(NamedTuple):
    """A token of a text: its name, its id, and its start position in characters."""

    text: str
    id: int
    start: int


def build_vocabulary(
    counts: Mapping[str, int],
    *,
    boundary: str,
    always: Sequence[str] = (),
    min_count: int = 1,
    max_size: int | None = None,
) -> Vocabulary:
    """Select the most frequent tokens; <unk> has id 0 and the total count of all other tokens.

    Args:
        counts: count of each token in the training text.
        boundary: the token that opens and closes a unit; always included.
        always: further tokens that are always included.
        min_count: rarer tokens become <unk>.
        max_size: maximum size, including the special tokens.
    """
    required = dict.fromkeys([boundary, *always])
    frequent = [token for token, count in counts.items() if count >= min_count and token != UNKNOWN]
    candidates = [token for token in _by_frequency(frequent, counts) if token not in required]
    room = len(candidates) if max_size is None else max(0, max_size - 1 - len(required))
    selected = _by_frequency([*required, *candidates[:room]], counts)
    num_unknown = sum(counts.values()) - sum(counts.get(token, 0) for token in selected)
    tokens = (UNKNOWN, *selected)
    return Vocabulary(
        tokens=tokens,
        counts=(num_unknown, *(counts.get(token, 0) for token in selected)),
        boundary_id=tokens.index(boundary),
        unknown_id=0,
    )


def _by_frequency(tokens: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    """Return tokens by falling count, equally frequent ones in the order of their spelling."""
    return sorted(sorted(tokens), key=lambda token: counts.get(token, 0), reverse=True)  # stable, also in reverse


def replaceable_tokens(vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """Return a mask (V,) of the tokens that may be replaced by <unk> in training; all False if <unk> occurs anyway.

    They are the rarest types that together make up at most `MAX_RARE_FRACTION` of the text, and the rarest one in any case.
    """
    mask = np.zeros(len(vocabulary), dtype=bool)
    counts = np.array(vocabulary.counts)
    if vocabulary.unknown_id is None or counts[vocabulary.unknown_id] > 0:
        return mask
    occurring = np.flatnonzero(counts)
    occurring = occurring[occurring != vocabulary.boundary_id]
    rarest_first = occurring[np.argsort(counts[occurring], kind="stable")]
    cumulative_fraction = np.cumsum(counts[rarest_first]) / max(1, counts.sum())
    mask[rarest_first[cumulative_fraction <= MAX_RARE_FRACTION]] = True
    mask[rarest_first[:1]] = True
    return mask


def visible(text: str) -> str:
    """Return a token with white space and control characters made visible.

    Example:
        >>> charnn.api.visible(" the")
        '␣the'
    """
    marks = {"\n": "⏎", " ": "␣", "\t": "⇥", "": "∅"}
    if text in marks:
        return marks[text]
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return shown.replace(" ", "␣")
