"""From ids back to text, one at a time, for each way to cut a text into tokens."""

import codecs
import copy
from collections.abc import Sequence
from typing import Protocol

from charnn.text.vocabulary import NEWLINE
from charnn.text.words import GLUE, expected_gap


class Decoder(Protocol):
    """Turns ids into text one at a time, holding back what is not yet a whole character."""

    def push(self, id: int) -> str:
        """Return the text that this id completes."""
        ...

    def flush(self) -> str:
        """Return what was held back."""
        ...

    def copy(self) -> "Decoder":
        """Return another one that stands in the same place."""
        ...


class TokenDecoder:
    """Each token is its own text."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def push(self, id: int) -> str:
        """See `Decoder`."""
        return self._texts[id]

    def flush(self) -> str:
        """See `Decoder`."""
        return ""

    def copy(self) -> Decoder:
        """See `Decoder`."""
        return self


class ByteDecoder:
    """Bytes of UTF-8; part of a character is held back until the rest comes."""

    def __init__(self, errors: str) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)

    def push(self, id: int) -> str:
        """See `Decoder`."""
        return self._decoder.decode(bytes([id])) if id < 256 else ""

    def flush(self) -> str:
        """See `Decoder`."""
        return self._decoder.decode(b"", final=True)

    def copy(self) -> Decoder:
        """See `Decoder`."""
        other = ByteDecoder(self._decoder.errors)
        other._decoder.setstate(self._decoder.getstate())
        return other


class WordDecoder:
    """Words with the gaps that one expects between them; any other gap is a token."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._before: str | None = None

    def push(self, id: int) -> str:
        """See `Decoder`."""
        token = self._tokens[id]
        if token == GLUE or (token.isspace() and token != NEWLINE):
            self._before = None
            return "" if token == GLUE else token
        gap = expected_gap(self._before, token)
        self._before = token
        return gap + token

    def flush(self) -> str:
        """See `Decoder`."""
        return ""

    def copy(self) -> Decoder:
        """See `Decoder`."""
        return copy.copy(self)


class PretokenizedDecoder:
    """Words with one space between them."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._gap = ""

    def push(self, id: int) -> str:
        """See `Decoder`."""
        token = self._tokens[id]
        text = token if token == NEWLINE else self._gap + token
        self._gap = "" if token == NEWLINE else " "
        return text

    def flush(self) -> str:
        """See `Decoder`."""
        return ""

    def copy(self) -> Decoder:
        """See `Decoder`."""
        return copy.copy(self)
