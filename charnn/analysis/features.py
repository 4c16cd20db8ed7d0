"""Features of a text that a unit may track, such as being inside quotes: a value for each character, and for each token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from charnn.analysis.subjects import Subject
from charnn.errors import OptionError, TextError
from charnn.text.vocabulary import DOCUMENT_BOUNDARY

Values = npt.NDArray[np.float32]

QUOTES = frozenset('"\u201c\u201d\u201e\u00ab\u00bb')
BRACKETS = {")": "(", "]": "[", "}": "{"}
TAB_WIDTH = 4
MATCH_SECONDS = 10.0
SENTENCE_START = regex.compile(r"(?<=[.!?\u2026][\"'\u201d\u2019\u00bb)\]]*)\s+[\"'\u201c\u2018\u00ab(\[]*\p{Lu}")
SPEAKER = regex.compile(r"^(?=[^a-z\n:]*\p{Lu}\p{Lu})[\p{Lu}\p{M}\d .,'\u2019&-]{2,60}:", regex.MULTILINE)
DIGIT = regex.compile(r"\p{Nd}")


@dataclass(frozen=True)
class Feature:
    """A feature with its value at each token.

    Args:
        name: such as "inside quotes".
        is_binary: whether its values are 0 and 1.
        values: after each token (N,): that of the last character that was read.
    """

    name: str
    is_binary: bool
    values: Values


def features_of(subject: Subject, patterns: Sequence[str]) -> list[Feature]:
    """Return every feature at the tokens of a subject's text, those of regular expressions last.

    Raises:
        OptionError: for an expression that is none.
        TextError: for an expression that takes too long.
    """
    compiled = [(f"/{pattern}/", compiled_pattern(pattern)) for pattern in patterns]
    text, places = decoded(subject)
    functions: list[tuple[str, bool, Callable[[str], Values]]] = [
        ("inside quotes", True, inside_quotes),
        ("bracket depth", False, bracket_depth),
        ("position in line", False, position_in_line),
        ("sentence start", True, lambda text: inside_matches(text, SENTENCE_START)),
        ("digit", True, lambda text: inside_matches(text, DIGIT)),
        ("indentation", False, indentation),
        ("speaker", True, lambda text: inside_matches(text, SPEAKER)),
    ]
    found = [Feature(name, is_binary, _at(function(text), places)) for name, is_binary, function in functions]
    return found + [Feature(name, True, _at(inside_matches(text, each), places)) for name, each in compiled]


def decoded(subject: Subject) -> tuple[str, npt.NDArray[np.int64]]:
    """Return a subject's text, and for each token the position of the last character that is read with it, -1 for none.

    A model that reads from right to left reads the first character of a token last.
    """
    tokenizer, ids, is_backward = subject.model.tokenizer, subject.ids, subject.engine.is_backward
    num_closing = int(tokenizer.unit != "stream" and len(ids) > 0 and ids[-1] == tokenizer.vocabulary.boundary_id)
    order = np.arange(len(ids))
    if is_backward:
        order[: len(ids) - num_closing] = order[: len(ids) - num_closing][::-1]
    closes_documents = tokenizer.vocabulary.tokens[tokenizer.vocabulary.boundary_id] == DOCUMENT_BOUNDARY
    parts: list[str] = []
    places = np.empty(len(ids), dtype=np.int64)
    decoder, length = tokenizer.decoder(), 0
    for index in order.tolist():
        id = int(ids[index])
        if closes_documents and id == tokenizer.vocabulary.boundary_id:
            parts.append(decoder.flush() + "\n\n")
            decoder = tokenizer.decoder()
        else:
            parts.append(decoder.push(id))
        before, length = length, length + len(parts[-1])
        places[index] = min(before, length - 1) if is_backward else length - 1
    return "".join([*parts, decoder.flush()]), places


def _at(values: Values, places: npt.NDArray[np.int64]) -> Values:
    """Return the values at positions, 0 before the first character."""
    padded = np.concatenate((np.zeros(1, dtype=np.float32), values))
    return padded[places + 1]


def inside_quotes(text: str) -> Values:
    """Return 1 from an opening double quotation mark on, and 0 from the closing one on; a blank line ends a quotation.

    Example:
        >>> from charnn.analysis.features import inside_quotes
        >>> inside_quotes('a "b" c').astype(int).tolist()
        [0, 0, 1, 1, 0, 0, 0]
    """
    values = np.zeros(len(text), dtype=np.float32)
    start: int | None = None
    for match in regex.finditer(rf"[{''.join(sorted(QUOTES))}]|\n\s*\n", text):
        if start is not None:
            values[start : match.start()] = 1.0
        start = match.start() if start is None and match[0] in QUOTES else None
    if start is not None:
        values[start:] = 1.0
    return values


def bracket_depth(text: str) -> Values:
    """Return the number of open brackets (), [] and {}; those without a partner do not count.

    Example:
        >>> from charnn.analysis.features import bracket_depth
        >>> bracket_depth("a (b [c]) :)").astype(int).tolist()
        [0, 0, 1, 1, 1, 2, 2, 1, 0, 0, 0, 0]
    """
    changes = np.zeros(len(text) + 1, dtype=np.float32)
    opened: list[int] = []
    for match in regex.finditer(r"[][(){}]", text):
        place = match.start()
        if match[0] not in BRACKETS:
            opened.append(place)
        elif opened and text[opened[-1]] == BRACKETS[match[0]]:
            changes[opened.pop()] += 1
            changes[place] -= 1
    return np.cumsum(changes[:-1]).astype(np.float32)


def position_in_line(text: str) -> Values:
    """Return the number of characters since the line began, 0 at a line end."""
    positions = np.arange(len(text), dtype=np.int64)
    is_newline = np.fromiter((character == "\n" for character in text), dtype=bool, count=len(text))
    last = np.maximum.accumulate(np.where(is_newline, positions, -1)) if len(text) else positions
    return (positions - last).astype(np.float32)


def indentation(text: str) -> Values:
    """Return the width of the white space with which a line begins, as far as it was read; 0 in blank lines."""
    values = np.zeros(len(text), dtype=np.float32)
    for match in regex.finditer(r"^([ \t]+)\S.*", text, regex.MULTILINE):
        widths = np.cumsum([TAB_WIDTH if character == "\t" else 1 for character in match[1]])
        values[match.start() : match.end(1)] = widths
        values[match.end(1) : match.end()] = widths[-1]
    return values


def inside_matches(text: str, pattern: Any) -> Values:
    """Return 1 at each character of a match of a regular expression, 0 elsewhere. Raises TextError if that takes too long."""
    values = np.zeros(len(text), dtype=np.float32)
    try:
        for match in pattern.finditer(text, timeout=MATCH_SECONDS):
            values[match.start() : match.end()] = 1.0
    except TimeoutError:
        raise TextError(
            f"--pattern: the search for {pattern.pattern!r} took longer than {MATCH_SECONDS:g} seconds; simplify it, or "
            "read less text with --tokens"
        ) from None
    return values


def compiled_pattern(expression: str) -> Any:
    """Return a compiled regular expression. Raises OptionError."""
    try:
        return regex.compile(expression, regex.MULTILINE)
    except regex.error as error:
        raise OptionError(
            f"--pattern: found {expression!r}, which is no regular expression ({error}); correct it, or put a backslash "
            "before characters that are meant literally"
        ) from None
