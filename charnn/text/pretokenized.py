"""Words separated by white space, as benchmark files have them, and the marks in them: `</s>` and `<eos>`.

`<eos>` is what scripts put in place of a line end, and `</s>` is the boundary: the line end of a stream and of lines, or the
boundary of documents. Such a mark and the line end after it are one token.
"""

import re
from collections.abc import Iterator

from charnn.config import Unit
from charnn.text.unit_kinds import has_own_boundary
from charnn.text.vocabulary import DOCUMENT_BOUNDARY, NEWLINE

LINE_END_MARK = "<eos>"
MARKS = (DOCUMENT_BOUNDARY, LINE_END_MARK)
WORD = re.compile(r"\n|\S+")
_MARKED = {
    "line": re.compile(r"(?:</s>|<eos>)(?!\S)[^\S\n]*+\n?|\n|\S+"),
    "document": re.compile(r"(?<!\s)\s*+</s>(?!\S)\s*+|<eos>(?!\S)[^\S\n]*+\n?|\n|\S+"),
}
_CLOSING_MARK = re.compile(r"(?<!\S)(?:</s>|<eos>)\s*\Z")


def has_marks(text: str) -> bool:
    """Return whether a text may contain a mark."""
    return any(mark in text for mark in MARKS)


def marked_words(text: str, unit: Unit) -> Iterator[tuple[str, int]]:
    """Yield each word, line end and boundary of documents with its start position."""
    for match in _MARKED["document" if has_own_boundary(unit) else "line"].finditer(text):
        word = match.group()
        start = match.start() + len(word) - len(word.lstrip()) if word != NEWLINE else match.start()
        word = word if word == NEWLINE else word.strip()
        if word == LINE_END_MARK or (word == DOCUMENT_BOUNDARY and not has_own_boundary(unit)):
            word = NEWLINE
        yield word, start


def without_closing_mark(text: str) -> str:
    """Return a unit without the mark at its end, where its boundary follows anyway."""
    match = _CLOSING_MARK.search(text) if has_marks(text) else None
    return text[: match.start()].rstrip() if match else text
