"""Constraints on sampling: a constant bias on tokens, n-grams that must not repeat, and a pattern to match."""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from charnn.config import SampleOptions
from charnn.errors import OptionError
from charnn.text.bins import is_series
from charnn.text.decoders import Decoder
from charnn.text.patterns import unicode_pattern
from charnn.text.tokenizers import Tokenizer
from charnn.text.vocabulary import SPACE_SYMBOL, Vocabulary, as_text
from charnn.text.words import GLUE

Bias = npt.NDArray[np.float64]
MATCH_SECONDS = 5.0
"""How long one try of a pattern may take."""
LARGEST_ASCII = 0x7F


def unescaped(text: str) -> str:
    r"""Return what a user means by \n, \t and \\ on a command line; every other backslash stays."""
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\t", "\t") for part in parts)


def token_bias(tokenizer: Tokenizer, options: SampleOptions) -> Bias:
    """Return what is added to each token's log probability, in nats (V,): minus infinity where it is excluded.

    <unk> is always excluded. The boundary that closes a line or document is no character, and may be banned as a token only.

    Raises:
        OptionError: for a token that the vocabulary lacks, a bias that is no number, or where nothing is left.
    """
    vocabulary = tokenizer.vocabulary
    bias = np.zeros(len(vocabulary))
    ends = vocabulary.boundary_id if tokenizer.unit != "stream" else None
    if options.allow is not None or options.allow_token:
        allowed = set(unescaped(options.allow or ""))
        allowed_ids = {_find_token("--allow-token", vocabulary, text) for text in options.allow_token}
        for id, text in enumerate(_texts(tokenizer, "--allow", allowed)):
            is_made_of_them = bool(text) and set(text) <= allowed
            if id != ends and id not in allowed_ids and not is_made_of_them:
                bias[id] = -np.inf
    if options.ban is not None:
        banned = set(unescaped(options.ban))
        for id, text in enumerate(_texts(tokenizer, "--ban", banned)):
            if id != ends and banned & set(text):
                bias[id] = -np.inf
    for text in options.ban_token:
        bias[_find_token("--ban-token", vocabulary, text)] = -np.inf
    for entry in options.logit_bias:
        id, nats = _read_bias(vocabulary, entry)
        bias[id] += nats
    if is_series(tokenizer):
        bias[vocabulary.boundary_id] = -np.inf  # where the series began, which never ends
    if vocabulary.unknown_id is not None:
        bias[vocabulary.unknown_id] = -np.inf
    left = np.flatnonzero(np.isfinite(bias))
    if not len(left) or left.tolist() == [ends]:
        raise OptionError(
            f"--allow and --ban: leave none of {len(vocabulary):,} tokens to write; allow more, or ban less"
        )
    return bias


def _texts(tokenizer: Tokenizer, flag: str, characters: set[str]) -> list[str]:
    """Return the characters that each token is made of; bytes are known by those of ASCII only."""
    if tokenizer.kind != "byte":
        return ["" if token == GLUE else as_text(token, tokenizer.kind) for token in tokenizer.vocabulary.tokens]
    if not all(character.isascii() for character in characters):
        raise OptionError(
            f"{flag}: found a character that is several bytes, but the model writes bytes; name bytes by {flag}-token, as in "
            f"{flag}-token '<0xC3>'"
        )
    return [chr(id) if id < LARGEST_ASCII + 1 else "" for id in range(len(tokenizer.vocabulary))]


def _find_token(flag: str, vocabulary: Vocabulary, text: str) -> int:
    wanted = unescaped(text)
    for spelled in (wanted, wanted.replace(" ", SPACE_SYMBOL), wanted.strip(" ")):
        if spelled in vocabulary.ids:
            if vocabulary.ids[spelled] == vocabulary.unknown_id:
                raise OptionError(f"{flag}: found {text!r}, which is never written anyway; leave it out")
            return vocabulary.ids[spelled]
    raise OptionError(
        f"{flag}: found {text!r}, which is none of the model's {len(vocabulary):,} tokens; "
        "charnn tokenize shows how a text is cut"
    )


def _read_bias(vocabulary: Vocabulary, entry: str) -> tuple[int, float]:
    token, equals, number = entry.rpartition("=")
    try:
        nats = float(number)
    except ValueError:
        nats = float("nan")
    if not equals or not token or not np.isfinite(nats):
        raise OptionError(f"--logit-bias: found {entry!r}, but it must be TOKEN=NATS, as in 'e=-2.5'")
    return _find_token("--logit-bias", vocabulary, token), nats


class Rule(Protocol):
    """Something that rules tokens out by the text of one sample so far."""

    def is_allowed(self, candidates_V: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Tell which of the candidates may come next (V,)."""
        ...

    def push(self, id: int) -> None:
        """Take the selected token."""
        ...

    def copy(self) -> "Rule":
        """Return a copy that can be extended independently."""
        ...


class NoRepeatedNgram:
    """No run of n tokens twice.

    Source: Paulus et al. (2018), A deep reinforced model for abstractive summarization.
    """

    def __init__(self, size: int, context: Sequence[int]) -> None:
        self._size = size
        self._last: tuple[int, ...] = ()
        self._before: dict[tuple[int, ...], set[int]] = {}
        """What followed each run in the context, shared by all copies."""
        self._followers = self._before
        for id in context:
            self.push(id)
        self._followers = {}

    def is_allowed(self, candidates_V: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """See `Rule`."""
        allowed = candidates_V.copy()
        for followers in (self._before, self._followers):
            allowed[list(followers.get(self._last, ()))] = False
        return allowed

    def push(self, id: int) -> None:
        """See `Rule`."""
        if len(self._last) == self._size - 1:
            self._followers.setdefault(self._last, set()).add(id)
        self._last = (*self._last, id)[1 - self._size :] if self._size > 1 else ()

    def copy(self) -> "NoRepeatedNgram":
        """See `Rule`."""
        other = copy.copy(self)
        other._followers = {run: ids.copy() for run, ids in self._followers.items()}
        return other


class Pattern:
    """A regular expression that a text as a whole must match in the end, so that each beginning must be able to grow into one.

    A model of bytes is held to the expression's UTF-8, where a dot is one byte.

    Raises:
        OptionError: for an expression that is none.
    """

    def __init__(self, expression: str, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._is_bytes = tokenizer.kind == "byte"
        try:
            self._compiled = unicode_pattern(expression.encode() if self._is_bytes else expression, re_compatible=True)
        except ValueError as error:
            raise OptionError(
                f"--match: found {expression!r}, which is no regular expression ({error}); correct it, or put a backslash "
                "before characters that stand for themselves"
            ) from error

    def begin(self, decoder: Decoder, text: str = "") -> "Matching":
        """Return the rule for one sample, whose decoder stands after its text so far."""
        return Matching(self, decoder, text.encode("utf-8", "surrogateescape") if self._is_bytes else text)

    def texts(self, decoder: Decoder, ids: Sequence[int]) -> list[Any]:
        """Return what each token would add."""
        if self._is_bytes:
            return [bytes([id]) if id < 256 else b"" for id in ids]
        return [decoder.copy().push(id) for id in ids]

    @property
    def end(self) -> int | None:
        """The token that ends a text, or None."""
        return None if self._tokenizer.unit == "stream" else self._tokenizer.vocabulary.boundary_id

    def matches(self, text: Any, *, partly: bool) -> bool:
        """Tell whether a text matches as a whole, or (partly) may still grow into one that does."""
        try:
            return self._compiled.fullmatch(text, partial=partly, timeout=MATCH_SECONDS) is not None
        except TimeoutError:
            raise OptionError(
                f"--match: took over {MATCH_SECONDS:g} seconds for one try on {len(text)} characters; "
                "write the expression without nested repeats"
            ) from None


class Matching:
    """A pattern, and the text that one sample has so far."""

    def __init__(self, pattern: Pattern, decoder: Decoder, text: Any) -> None:
        self._pattern = pattern
        self._decoder = decoder.copy()
        self._text = text

    @property
    def is_complete(self) -> bool:
        """Whether the text matches as a whole."""
        return self._pattern.matches(self._text, partly=False)

    def is_allowed(self, candidates_V: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """See `Rule`."""
        allowed = np.zeros_like(candidates_V)
        ids = np.flatnonzero(candidates_V).tolist()
        for id, added in zip(ids, self._pattern.texts(self._decoder, ids), strict=True):
            if id == self._pattern.end:
                allowed[id] = self.is_complete
            elif added:  # what adds nothing could be added forever
                allowed[id] = self._pattern.matches(self._text + added, partly=True)
        return allowed

    def push(self, id: int) -> None:
        """See `Rule`."""
        self._text += self._pattern.texts(self._decoder, [id])[0]
        self._decoder.push(id)

    def copy(self) -> "Matching":
        """See `Rule`."""
        other = copy.copy(self)
        other._decoder = self._decoder.copy()
        return other
