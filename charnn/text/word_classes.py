"""The characters that the rules for words distinguish, as ranges: for tokenizers in other people's formats."""

import functools
from typing import NamedTuple

import regex

from charnn.text.words import EXTEND, LATEST, LETTER, SPACE

Ranges = tuple[tuple[int, int], ...]
"""First and last code points."""


class WordClasses(NamedTuple):
    """Classes of characters.

    Args:
        extend: belong to what stands before them.
        mark: combining marks, which may begin a word.
        letter: letters, numbers and the underscore.
        space: white space, including the line end.
        digit: decimal digits.
        pictograph: what a joiner adds to an emoji.
        closing, opening, quote: punctuation of that kind.
        unspaced: marks with no gap on either side.
    """

    extend: Ranges
    mark: Ranges
    letter: Ranges
    space: Ranges
    digit: Ranges
    pictograph: Ranges
    closing: Ranges
    opening: Ranges
    quote: Ranges
    unspaced: Ranges


@functools.cache
def word_classes() -> WordClasses:
    """Return the classes of the latest rules.

    Example:
        >>> from charnn.text.word_classes import word_classes
        >>> word_classes().quote
        ((34, 34), (39, 39))
    """
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)

    def ranges(members: str) -> Ranges:
        runs = regex.finditer(f"[{members}]+", every, regex.V1)
        return tuple((ord(run.group()[0]), ord(run.group()[-1])) for run in runs)

    candidates = regex.findall(rf"[\p{{P}}\p{{S}}\p{{Cf}}\p{{Terminal_Punctuation}}--[{LETTER}]]", every, regex.V1)
    by_kind: dict[str, list[str]] = {"closing": [], "opening": [], "quote": [], "unspaced": [], "word": []}
    for character in candidates:
        traits = LATEST.traits(character)
        is_unspaced = traits.has_own_space or traits.kind == "joining"
        by_kind["unspaced" if is_unspaced else traits.kind].append(character)
    return WordClasses(
        ranges(EXTEND),
        ranges(r"\p{M}"),
        ranges(LETTER),
        ranges(SPACE),
        ranges(r"\p{Nd}"),
        ranges(r"\p{Extended_Pictographic}"),
        *(_runs(by_kind[kind]) for kind in ("closing", "opening", "quote", "unspaced")),
    )


def _runs(characters: list[str]) -> Ranges:
    return tuple((ord(character), ord(character)) for character in characters)
