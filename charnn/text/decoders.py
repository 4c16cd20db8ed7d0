"""Incremental decoders, from ids to text, for each tokenizer."""

import codecs
from collections.abc import Sequence
from typing import Protocol

from charnn.text.vocabulary import NEWLINE
from charnn.text.words import GLUE, WordRules, expected_gap


class Decoder(Protocol):
    """Decodes ids one at a time, buffering incomplete characters."""

    def push(self, id: int) -> str:
        """Return the text that is complete with this id."""
        ...

    def flush(self) -> str:
        """Return the buffered text."""
        ...

    def copy(self) -> "Decoder":
        """Return a copy in the same state."""
        ...


class TokenDecoder:
    """Looks up the text of each token."""

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
    """Bytes of UTF-8; incomplete characters are buffered."""

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
    """Words with the expected gaps between them; other gaps are tokens."""

    def __init__(self, tokens: Sequence[str], rules: WordRules) -> None:
        self._tokens, self._rules = tokens, rules
        self._before: str | None = None

    def push(self, id: int) -> str:
        """See `Decoder`."""
        token = self._tokens[id]
        if token == GLUE or (token.isspace() and token != NEWLINE):
            self._before = None
            return "" if token == GLUE else token
        gap = expected_gap(self._before, token, self._rules)
        self._before = token
        return gap + token

    def flush(self) -> str:
        """See `Decoder`."""
        return ""

    def copy(self) -> Decoder:
        """See `Decoder`."""
        other = WordDecoder(self._tokens, self._rules)  # quicker than copy.copy; a constraint copies it for each token
        other._before = self._before
        return other


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
        other = PretokenizedDecoder(self._tokens)
        other._gap = self._gap
        return other
