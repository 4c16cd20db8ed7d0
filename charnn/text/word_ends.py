"""Words that are still being written: where they begin, and which tokens continue or end them.

A word is a run of letters, digits, underscores and combining marks of any script, in which single apostrophes and hyphens may
stand between letters: "don't" and "well-known" are words, and the quotation mark after "fox'" ends one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import regex

from charnn.text.decoders import ByteDecoder
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import as_text
from charnn.text.words import EXTEND, LETTER

APOSTROPHES, HYPHENS = "'\u2019", "\\-\u2010\u2011"
LONGEST_WORD = 100
"""Characters of a word at most."""
_LETTER = f"[{LETTER}{EXTEND}]"
_WORD = regex.compile(rf"{_LETTER}++(?:[{APOSTROPHES}{HYPHENS}]{_LETTER}++)*+")
_JOINER = regex.compile(f"[{APOSTROPHES}{HYPHENS}]")
_UNFINISHED = {
    joiners: regex.compile(rf"{_LETTER}++(?:[{joiners}]{_LETTER}++)*+[{joiners}]?")
    for joiners in (APOSTROPHES + HYPHENS, APOSTROPHES)
}
_UNSPACED = regex.compile(r"\S+")


def unfinished_word(text: str, kind: str = "char") -> str:
    """Return the word at the end of a text, with an apostrophe or hyphen that ends it; empty if the text ends otherwise.

    Args:
        kind: that of the tokenizer. A hyphen is a token of its own in word models; pretokenized words are what white space
            separates.

    Example:
        >>> from charnn.text.word_ends import unfinished_word
        >>> unfinished_word("he doesn'")
        "doesn'"
    """
    pattern = _UNFINISHED[APOSTROPHES if kind == "word" else APOSTROPHES + HYPHENS]
    tail = text[-10 * LONGEST_WORD :]
    matches = (_UNSPACED if kind == "pretokenized" else pattern).finditer(tail)
    return next((match.group() for match in matches if match.end() == len(tail)), "")


def is_word(token: str) -> bool:
    """Return whether a token of a word model begins as a word does."""
    return _WORD.match(token) is not None


class Unfinished(NamedTuple):
    """What matters of an unfinished word for its continuation.

    Args:
        required: typed text that the next tokens must spell.
        is_begun: whether the word has a letter.
        pending: what follows its last letter: an apostrophe or hyphen, which belongs to the word if a letter follows, and
            the first bytes of a character.
    """

    required: str
    is_begun: bool
    pending: str | bytes

    @classmethod
    def of(cls, typed: str, kind: str, required: str = "") -> tuple[str, "Unfinished"]:
        """Return the letters of a typed word, and what follows from it."""
        word = typed[:-1] if _JOINER.fullmatch(typed[-1:]) else typed
        pending = typed[len(word) :]
        return word, cls(required, bool(word), pending.encode() if kind == "byte" else pending)


class Continuation(NamedTuple):
    """What a token adds to a word, and what is unfinished after it; None if it ends the word."""

    added: str
    unfinished: Unfinished | None


@dataclass(frozen=True)
class Continuations:
    """What each token of a vocabulary does to an unfinished word.

    Args:
        fragments: what tokens that end the word add to it before.
        ends_V: the index of a token's fragment; the number of fragments, if it does not end the word.
        ids: tokens after which the word is still unfinished (N,).
        continuations: of each of them.
        is_typed_V: whether a token spells the rest of the required text; None if nothing is required.
    """

    fragments: Sequence[str]
    ends_V: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    continuations: Sequence[tuple[str, Unfinished]]
    is_typed_V: npt.NDArray[np.bool_] | None


class WordTables:
    """What the tokens of a character, byte or subword vocabulary do to unfinished words: one table per kind of word.

    <unk> neither continues nor ends a word.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        vocabulary = tokenizer.vocabulary
        self._tables: dict[Unfinished, Continuations] = {}
        self._pieces: list[str | bytes | None]
        if tokenizer.kind == "byte":
            self._pieces = [bytes([id]) if id < 256 else b"\n" for id in range(len(vocabulary))]
        else:
            self._pieces = [as_text(token, tokenizer.kind) for token in vocabulary.tokens]
            self._pieces[vocabulary.boundary_id] = "\n"
        if vocabulary.unknown_id is not None:
            self._pieces[vocabulary.unknown_id] = None

    def of(self, unfinished: Unfinished) -> Continuations:
        """Return what each token does to an unfinished word."""
        if unfinished not in self._tables:
            self._tables[unfinished] = self._table(unfinished)
        return self._tables[unfinished]

    def _table(self, unfinished: Unfinished) -> Continuations:
        fragments: dict[str, int] = {}
        ends_V = np.full(len(self._pieces), -1)
        ids: list[int] = []
        continuations: list[tuple[str, Unfinished]] = []
        for id, piece in enumerate(self._pieces):
            found = None if piece is None else continuation(unfinished, piece)
            if found is None:
                continue
            if found.unfinished is None:
                ends_V[id] = fragments.setdefault(found.added, len(fragments))
            else:
                ids.append(id)
                continuations.append((found.added, found.unfinished))
        ends_V[ends_V < 0] = len(fragments)
        required = unfinished.required
        is_typed = [isinstance(piece, str) and piece.startswith(required) for piece in self._pieces]
        return Continuations(
            list(fragments),
            ends_V,
            np.array(ids, dtype=np.int64),
            continuations,
            np.array(is_typed) if required else None,
        )


def continuation(unfinished: Unfinished, piece: str | bytes) -> Continuation | None:
    """Return what a token's text does to an unfinished word; None if it contradicts the typed text or begins no word.

    Example:
        >>> from charnn.text.word_ends import Unfinished, continuation
        >>> continuation(Unfinished(" ri", True, ""), " river.")
        Continuation(added='ver', unfinished=None)
    """
    required, is_begun, pending = unfinished
    if required:
        assert isinstance(piece, str)
        if not piece.startswith(required):
            is_part = piece and required.startswith(piece)
            return Continuation("", unfinished._replace(required=required[len(piece) :])) if is_part else None
        piece = piece[len(required) :]
    text, incomplete = _decoded(pending, piece)
    begun = "x" if is_begun else ""
    match = _WORD.match(begun + text)
    if match is None:
        return None if text else Continuation("", Unfinished("", is_begun, incomplete))
    added, rest = match.group()[len(begun) :], (begun + text)[match.end() :]
    if rest and not _JOINER.fullmatch(rest):
        return Continuation(added, None)
    after = rest if isinstance(incomplete, str) else rest.encode() + incomplete
    return Continuation(added, Unfinished("", True, after))


def _decoded(pending: str | bytes, piece: str | bytes) -> tuple[str, str | bytes]:
    """Return the text of both, and the first bytes of an incomplete character at its end."""
    if isinstance(pending, str):
        assert isinstance(piece, str)
        return pending + piece, ""
    assert isinstance(piece, bytes)
    decoder = ByteDecoder("surrogateescape")
    whole = pending + piece
    text = "".join(decoder.push(byte) for byte in whole)
    return text, whole[len(text.encode("utf-8", "surrogateescape")) :]
