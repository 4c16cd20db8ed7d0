"""Splitting text into words, with the expected gaps between them."""

import functools
import re
import unicodedata
from collections.abc import Iterator

from charnn.text.vocabulary import NEWLINE

GLUE = "<glue>"
"""Token between two adjacent words where a space would be expected."""


@functools.cache
def word_pattern() -> re.Pattern[str]:
    """Return a pattern that matches a word, number, punctuation mark or run of white space.

    Combining marks, which `\\w` does not include, are part of words.
    """
    marks = "".join(chr(code) for code in range(0x300, 0x11A00) if unicodedata.category(chr(code)).startswith("M"))
    letter = rf"[\w{re.escape(marks)}]"
    return re.compile(
        rf"\n|[^\S\n]+|\d+(?:[.,]\d+)+(?![\w{re.escape(marks)}])|{letter}+(?:['\u2019]{letter}+)*|-{{2,}}|\.{{2,}}|[^\w\s]"
    )


_CLOSING = frozenset(",.;:!?)]}%\u2019\u201d\u2026") | {"...", ".."}
_OPENING = frozenset("([{#$@\u2018\u201c")
_JOINING = frozenset("-/\u2013\u2014\u2010_") | {"--", "---"}
_QUOTES = frozenset("\"'")


def expected_gap(before: str | None, after: str) -> str:
    """Return the usual white space between two words, which is not a token."""
    if before is None or NEWLINE in (before, after):
        return ""
    if after in _CLOSING or after in _JOINING or before in _OPENING or before in _JOINING or before in _QUOTES:
        return ""
    if after in _QUOTES and before in _CLOSING:
        return ""
    return " "


def split_words(text: str) -> Iterator[tuple[str, int]]:
    """Yield each word, line end and unexpected gap of a text with its start position."""
    before: str | None = None
    gap, gap_start = "", 0
    for match in word_pattern().finditer(text):
        word = match.group()
        if word.isspace() and word != NEWLINE:
            gap, gap_start = word, match.start()
            continue
        if gap != expected_gap(before, word):
            yield (gap, gap_start) if gap else (GLUE, match.start())
        yield word, match.start()
        before, gap = word, ""
    if gap:
        yield gap, gap_start
