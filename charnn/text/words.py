"""Splitting text into words, with the expected gaps between them.

There are two versions of the rules. A model keeps the one that it was trained with (the format version of its tokenizer);
`LATEST` is that of new models.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from charnn.text.patterns import unicode_pattern
from charnn.text.vocabulary import NEWLINE

GLUE = "<glue>"
"""Token between two adjacent words where a space would be expected."""

Kind = Literal["word", "closing", "opening", "joining", "quote"]


class Traits(NamedTuple):
    """What decides on the gaps beside a word.

    Args:
        kind: the gap before closing marks, after opening ones, and on both sides of joining ones is empty.
        has_own_space: whether it is a full-width punctuation mark, which has no gap on either side.
    """

    kind: Kind
    has_own_space: bool = False


class WordRules(NamedTuple):
    """How a text is split into words, and which gaps are expected between them.

    Args:
        version: see above.
        pattern: returns a compiled pattern that matches a word, number, mark or run of white space.
        traits: returns those of a word.
    """

    version: int
    pattern: Callable[[], Any]
    traits: Callable[[str], Traits]


@functools.cache
def _first_pattern() -> re.Pattern[str]:
    """Return the pattern of version 1: combining marks, which `\\w` does not include, are part of words."""
    marks = "".join(chr(code) for code in range(0x300, 0x11A00) if unicodedata.category(chr(code)).startswith("M"))
    letter = rf"[\w{re.escape(marks)}]"
    return re.compile(
        rf"\n|[^\S\n]+|\d+(?:[.,]\d+)+(?![\w{re.escape(marks)}])|{letter}+(?:['\u2019]{letter}+)*|-{{2,}}|\.{{2,}}|[^\w\s]"
    )


_CLOSING = frozenset(",.;:!?)]}%\u2019\u201d\u2026") | {"...", ".."}
_OPENING = frozenset("([{#$@\u2018\u201c")
_JOINING = frozenset("-/\u2013\u2014\u2010_") | {"--", "---"}
_QUOTES = frozenset("\"'")


_PLAIN_WORD = Traits("word")
_FIRST_TRAITS = {
    **dict.fromkeys(_CLOSING, Traits("closing")),
    **dict.fromkeys(_OPENING, Traits("opening")),
    **dict.fromkeys(_JOINING, Traits("joining")),
    **dict.fromkeys(_QUOTES, Traits("quote")),
}


def _first_traits(word: str) -> Traits:
    return _FIRST_TRAITS.get(word, _PLAIN_WORD)


EXTEND = r"\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}\p{M}"
"""Combining marks, variation selectors, joiners and other invisible characters, which belong to what stands before them."""
SPACE, LETTER = r"\s\x1c-\x1f", r"\p{L}\p{N}_"  # as \s and \w of the module `re`, which counts no joiners as letters
_OPENING_ALSO, _JOINING_ALSO = frozenset("\u00bf\u00a1"), frozenset("\u200b")


@functools.cache
def _second_pattern() -> Any:
    """Return the pattern of version 2. Source: Unicode Standard Annex 29, rules WB3c, WB4, WB15 and WB16."""
    extend, word = f"[{EXTEND}]*+", rf"[{LETTER}\p{{M}}][{LETTER}{EXTEND}]*+"
    return unicode_pattern(
        rf"\n|[{SPACE}--\n]+|\p{{Nd}}+(?:[.,]\p{{Nd}}+)+{extend}(?![{LETTER}])|{word}(?:['\u2019]{word})*"
        rf"|-{{2,}}|\.{{2,}}|[\U0001f1e6-\U0001f1ff]{{2}}{extend}"
        rf"|[^{LETTER}{SPACE}]{extend}(?:(?<=\u200d)\p{{Extended_Pictographic}}{extend})*+"
    )


@functools.cache
def _properties() -> tuple[Any, Any, Any]:
    """Return patterns of what is ignored in a mark, of closing marks, and of full-width punctuation."""
    return (
        unicode_pattern(f"[{EXTEND}]"),
        unicode_pattern(r"[\p{Terminal_Punctuation}\p{Pe}\p{Pf}]"),
        unicode_pattern(r"[\p{P}&&[\p{EA=W}\p{EA=F}]]"),
    )


@functools.lru_cache(maxsize=1 << 12)
def _traits_of_mark(word: str) -> Traits:
    ignored, closing, full_width = _properties()
    mark = ignored.sub("", word)
    has_own_space = full_width.fullmatch(mark) is not None
    if mark in _FIRST_TRAITS or len(mark) != 1:
        return _first_traits(mark)
    if closing.match(mark):
        return Traits("closing", has_own_space)
    if unicodedata.category(mark) in ("Ps", "Pi") or mark in _OPENING_ALSO:
        return Traits("opening", has_own_space)
    if unicodedata.category(mark) == "Pd" or mark in _JOINING_ALSO:
        return Traits("joining", has_own_space)
    return Traits("word", has_own_space)


def _unicode_traits(word: str) -> Traits:
    return _PLAIN_WORD if word[:1].isalnum() else _traits_of_mark(word)


FIRST = WordRules(1, _first_pattern, _first_traits)
LATEST = WordRules(2, _second_pattern, _unicode_traits)


def word_rules(version: int) -> WordRules:
    """Return the rules of a version."""
    return FIRST if version == FIRST.version else LATEST


def expected_gap(before: str | None, after: str, rules: WordRules = LATEST) -> str:
    """Return the usual white space between two words, which is not a token."""
    if before is None or NEWLINE in (before, after):
        return ""
    left, right = rules.traits(before), rules.traits(after)
    if left.kind in ("opening", "joining", "quote") or right.kind in ("closing", "joining"):
        return ""
    if left.has_own_space or right.has_own_space or (left.kind == "closing" and right.kind == "quote"):
        return ""
    return " "


def split_words(text: str, rules: WordRules = LATEST) -> Iterator[tuple[str, int]]:
    """Yield each word, line end and unexpected gap of a text with its start position."""
    before: str | None = None
    gap, gap_start = "", 0
    for match in rules.pattern().finditer(text):
        word = match.group()
        if word.isspace() and word != NEWLINE:
            gap, gap_start = word, match.start()
            continue
        if gap != expected_gap(before, word, rules):
            yield (gap, gap_start) if gap else (GLUE, match.start())
        yield word, match.start()
        before, gap = word, ""
    if gap:
        yield gap, gap_start
