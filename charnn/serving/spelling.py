"""The tokens of a text as clients see them."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import charnn.api
from charnn.files import JsonObject
from charnn.serving.models import ServedModel

CUTS = ("stop", "sentence", "line")
"""Reasons of an end by which text of the last tokens may be left out."""


@dataclass
class _Token:
    """A token, where its text begins, its log probability in nats, and the most probable tokens at its position.

    The boundary that opens a text has neither of the last two.
    """

    text: str
    offset: int
    log_prob: float | None
    top: dict[str, float] | None

    @property
    def end(self) -> int:
        return self.offset + len(self.text)


def visible(text: str) -> str:
    """Return a text as JSON transmits it: with U+FFFD in place of bytes that are not UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Spelling:
    """Spells the tokens of a text by what each adds to it, so that they join to the text.

    A word has the space before it that its tokenizer implies. Of the byte tokens of a character, the last one has it, and the
    others are empty. Tokens are returned when their text is certain; what a stop text cuts off is left out.

    Args:
        decoder: after the tokens so far.
        has_top: whether the most probable tokens at each position are returned, too.
        offset: characters of the text so far.
    """

    def __init__(self, model: ServedModel, decoder: "charnn.api.Decoder", *, has_top: bool, offset: int = 0) -> None:
        self._model, self._decoder, self._has_top = model, decoder, has_top
        self._num_decoded = self._num_certain = offset
        self._held: deque[_Token] = deque()

    def copy(self, offset: int) -> Self:
        """Return one that continues after the tokens so far, all of which were returned.

        Args:
            offset: characters of the text so far.
        """
        return type(self)(self._model, self._decoder.copy(), has_top=self._has_top, offset=offset)

    def open(self, ids: Sequence[int]) -> None:
        """Take the boundary that opens a text, if there is one."""
        for id in ids:
            self._hold(visible(self._decoder.push(id)), None, None)

    def close(self, log_probs: Sequence[float], alternatives: Sequence["charnn.api.Alternatives"]) -> None:
        """Take the boundary that closes a text, if there is one; it adds nothing to the text."""
        for index, log_prob in enumerate(log_probs):
            boundary_id = self._model.tokenizer.vocabulary.boundary_id
            top = self._top(self._decoder, alternatives[index], boundary_id, "") if self._has_top else None
            self._hold("", log_prob, top)

    def _hold(self, text: str, log_prob: float | None, top: dict[str, float] | None) -> None:
        self._held.append(_Token(text, self._num_decoded, log_prob, top))
        self._num_decoded += len(text)

    def add(
        self,
        ids: Sequence[int],
        log_probs: Sequence[float],
        alternatives: Sequence["charnn.api.Alternatives"],
        spellings: Sequence[str] | None = None,
    ) -> None:
        """Take the next tokens, with the most probable ones at the position of each.

        Args:
            spellings: their texts, if they are not to be decoded.
        """
        for index, id in enumerate(ids):
            before = self._decoder.copy() if self._has_top else None
            decoded = self._decoder.push(id)
            text = visible(decoded if spellings is None else spellings[index])
            top = None if before is None else self._top(before, alternatives[index], id, text)
            self._hold(text, log_probs[index], top)

    def _top(
        self, decoder: "charnn.api.Decoder", alternatives: "charnn.api.Alternatives", id: int, text: str
    ) -> dict[str, float]:
        """Return alternatives by their spelling; that of the token itself is the same as in `tokens`."""
        names = self._model.names
        spells = self._model.tokenizer.kind in ("word", "pretokenized")
        unknown = self._model.tokenizer.vocabulary.unknown_id
        top: dict[str, float] = {}
        for other, log_prob in alternatives:
            name = text if other == id else names[other]
            if spells and other not in (id, unknown):
                name = decoder.copy().push(other) or name
            if name in top:  # as two tokens that differ only in the bytes of a character
                name = names[other]
            top.setdefault(name, log_prob)
        return top

    def certain(self, text: str, ended: str | None) -> JsonObject:
        """Return the field `logprobs` of the tokens that are certain now.

        Args:
            text: what has become certain since the last call.
            ended: why the text is complete, None while it is not.
        """
        self._num_certain += len(text)
        num_whole = 0
        for index, token in enumerate(self._held):
            if token.end > self._num_certain:
                break
            if token.text or ended is not None:  # the bytes of an incomplete character wait for the last of them
                num_whole = index + 1
        tokens = [self._held.popleft() for _ in range(num_whole)]
        if ended is not None:
            tokens += [token for token in self._held if token.offset < self._num_certain and ended in CUTS]
            self._held.clear()
            if tokens:
                self._finish(tokens[-1], text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.log_prob for token in tokens],
            "top_logprobs": [token.top for token in tokens] if self._has_top else None,
            "text_offset": [token.offset for token in tokens],
        }

    def _finish(self, last: _Token, text: str) -> None:
        """Let the last token end with the text: it is cut off, or an incomplete character follows."""
        missing = self._num_certain - last.end
        if missing < 0:
            last.text = last.text[:missing]
        elif missing > 0:
            last.text += text[-missing:]
        self._num_decoded = self._num_certain
