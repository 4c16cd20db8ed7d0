"""The tokenizer of a page: its vocabulary, and what browsers do not know of its rules."""

import functools
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from charnn.files import JsonObject
from charnn.text.tokenizers import Tokenizer
from charnn.text.unit_kinds import has_own_boundary
from charnn.text.words import word_rules


def described_tokenizer(tokenizer: Tokenizer) -> JsonObject:
    """Return what page/tokenizer.js is made of."""
    vocabulary = tokenizer.vocabulary
    described: JsonObject = {
        "kind": tokenizer.kind,
        "version": tokenizer.version,
        "unit": "document" if has_own_boundary(tokenizer.unit) else tokenizer.unit,
        "boundary_id": vocabulary.boundary_id,
        "unknown_id": vocabulary.unknown_id,
        "tokens": list(vocabulary.tokens),
    }
    if tokenizer.kind == "word":
        described["rules"] = _word_classes(tokenizer.version)
    if tokenizer.kind == "subword":
        described["subwords"] = _subword_scores(tokenizer.files()["tokenizer.model"])
    return described


_OTHERS = frozenset(("Lm", "Mn", "Mc", "Me", "Cf", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"))
"""The categories of characters that may belong to what stands before them, or decide on the gap beside them."""


@functools.cache
def _word_classes(version: int) -> JsonObject:
    """Return the classes of characters that browsers do not know, as the rules of words have them.

    Returns:
        `extend`, the ranges of characters that belong to what stands before them, as in a regular expression of JavaScript;
        `traits`, marks by the initial of their kind, in upper case for full-width ones.
    """
    rules = word_rules(version)
    others = [each for each in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(each) in _OTHERS]
    pattern = rules.pattern()
    extend = [each for each in others if pattern.match(f"%{each}").end() == 2]
    traits: dict[str, list[str]] = {}
    for mark in (*(each for each in others if unicodedata.category(each)[0] in "PSC"), "..", "...", "--", "---"):
        kind, has_own_space = rules.traits(mark)
        if kind != "word" or has_own_space:
            traits.setdefault(kind[0].upper() if has_own_space else kind[0], []).append(mark)
    return {"extend": _ranges([ord(each) for each in extend]), "traits": traits}


def _ranges(codes: Sequence[int]) -> str:
    """Return rising code points as ranges in a class of a regular expression of JavaScript."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\u{{{first:x}}}-\\u{{{last:x}}}" for first, last in ranges)


_PIECES, _TRAINER, _SCORE, _TYPE, _MODEL_TYPE = 1, 2, 2, 3, 3
_NORMAL, _USER_DEFINED, _UNIGRAM = 1, 4, 1


def _subword_scores(content: bytes) -> JsonObject:
    """Return the score of each piece of a SentencePiece model, None for control symbols, and whether it is a unigram model."""
    scores: list[float | None] = []
    is_unigram = True
    for number, value in _fields(content):
        if number == _PIECES:
            piece = dict(_fields(value))
            is_piece = piece.get(_TYPE, _NORMAL) in (_NORMAL, _USER_DEFINED)
            scores.append(float(np.frombuffer(piece.get(_SCORE, bytes(4)), "<f4")[0]) if is_piece else None)
        elif number == _TRAINER:
            is_unigram = dict(_fields(value)).get(_MODEL_TYPE, _UNIGRAM) == _UNIGRAM
    return {"scores": scores, "is_unigram": is_unigram}


def _fields(content: bytes) -> list[tuple[int, Any]]:
    """Return number and value of each field of a message of Protocol Buffers: an integer, or the bytes of anything else."""
    found: list[tuple[int, Any]] = []
    position = 0

    def integer() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = content[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(content):
        key = integer()
        if key & 7 == 0:
            found.append((key >> 3, integer()))
            continue
        size = {1: 8, 5: 4}.get(key & 7) or integer()
        found.append((key >> 3, content[position : position + size]))
        position += size
    return found
