"""Where the text of a sample ends: at a stop text, a sentence or a line."""

import functools
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from charnn.config.sampling import Until
from charnn.text.patterns import unicode_pattern
from charnn.text.words import EXTEND

EndReason = Literal["length", "stop", "sentence", "line", "unit", "match", "stuck", "interrupted"]
"""Why a sample is complete: "match" where its pattern leaves nothing to add, "stuck" where no token is allowed though it should
go on."""

_NO_BREAK = "\u00a0\u202f"
_CLOSING = rf"""["'\p{{Pe}}\p{{Pf}}{EXTEND}]"""
_CLOSING_BEFORE_SPACE = rf"""(?:["'\p{{Pe}}\p{{Pf}}\p{{Pi}}{EXTEND}]|[{_NO_BREAK}]\p{{Pf}})"""
_FULL_WIDTH = r"[[\p{Sentence_Terminal}--\p{SB=ATerm}]&&[\p{EA=W}\p{EA=F}\p{EA=H}]]"
LINE_END = re.compile(r"\n\s*\Z")


@functools.cache
def sentence_end() -> Any:
    """Return a pattern of the end of a sentence.

    It is terminal marks of any script, and the quotes and brackets after them, before white space, which full-width marks do
    without; or an empty line. Source: Unicode Standard Annex 29, simplified: an abbreviation ends a sentence, too.
    """
    return unicode_pattern(
        rf"[\p{{Sentence_Terminal}}\u2026]{_CLOSING_BEFORE_SPACE}*+(?=[\s--{_NO_BREAK}])"
        rf"|{_FULL_WIDTH}++{_CLOSING}*+(?=[\s\S])|(?<=\S)(?=\n\s*\n)"
    )


class Release(NamedTuple):
    """Text that is now certain to be part of a sample, and why it ended, or None."""

    text: str
    ended: EndReason | None


class Ending:
    """Looks for the end of a sample in its text as it grows.

    Args:
        stops: texts before which it ends.
        until: what it ends with.
        prompt: what stands before it: a line may have begun there.
    """

    def __init__(self, stops: Sequence[str], until: Until | None, prompt: str) -> None:
        self._stops = stops
        self._until = until
        self._line_has_begun = bool(prompt.rpartition("\n")[2].strip())
        self._released = ""
        self._pending = ""

    def push(self, text: str) -> Release:
        """Take more text; hold back what may turn out to be the beginning of a stop text."""
        self._pending += text
        ends: list[tuple[int | None, EndReason]] = [(_find(self._pending, stop), "stop") for stop in self._stops]
        if self._until == "line":
            ends.append((self._line_end(), "line"))
        if self._until == "sentence":
            ends.append((self._sentence_end(), "sentence"))
        found = [(position, reason) for position, reason in ends if position is not None]
        if found:
            position, reason = min(found)
            return Release(self._take(position), reason)
        return Release(self._take(len(self._pending) - self._held_back()), None)

    def flush(self) -> str:
        """Return the text that was held back."""
        return self._take(len(self._pending))

    def _take(self, size: int) -> str:
        taken, self._pending = self._pending[:size], self._pending[size:]
        self._released = (self._released + taken)[-64:] if self._released.strip() else self._released + taken
        if self._until == "line" and taken:
            line = taken.rpartition("\n")[2]
            self._line_has_begun = bool(line.strip()) or (self._line_has_begun and "\n" not in taken)
        return taken

    def _held_back(self) -> int:
        """Return how many characters at the end may begin a stop text, or the empty line that ends a sentence."""
        line_end = LINE_END.search(self._pending) if self._until == "sentence" else None
        longest_end = len(self._pending) - line_end.start() if line_end else 0
        return max(longest_end, self._beginning_of_stop())

    def _beginning_of_stop(self) -> int:
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(self._pending)), 0, -1):
            tail = self._pending[-size:]
            if any(len(stop) > size and stop.startswith(tail) for stop in self._stops):
                return size
        return 0

    def _line_end(self) -> int | None:
        """Return where the first line ends that is not blank."""
        has_begun, first = self._line_has_begun, 0
        while (position := self._pending.find("\n", first)) >= 0:
            if has_begun or self._pending[first:position].strip():
                return position
            has_begun, first = False, position + 1
        return None

    def _sentence_end(self) -> int | None:
        """Return where the first sentence ends, which has more in it than white space."""
        whole = self._released + self._pending
        already = len(self._released)
        for match in sentence_end().finditer(whole):
            if whole[: match.end()].strip() and match.end() >= already:
                return int(match.end()) - already
        return None


def _find(text: str, wanted: str) -> int | None:
    """Return the position of the first occurrence of a text in another, or None."""
    position = text.find(wanted)
    return None if position < 0 else position
