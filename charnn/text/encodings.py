"""Detection of encodings other than UTF-8, where the bytes are unambiguous."""

import re

MAX_CHAOS = 0.02
"""Maximum rate of implausible character sequences, as charset-normalizer measures it."""
MIN_COHERENCE_LEAD, MIN_CHAOS_LEAD = 0.03, 0.02
"""Minimum differences to any other encoding that decodes the bytes to another text."""
MIN_HIRAGANA = 0.2
OPENING_IN_WORD = re.compile(r"\w[\u2020\u2021\u201a\u201e\u2030\u2039\u02c6]")
"""A letter before an opening quote or the like, as which cp1252 reads accented letters of DOS."""
FIRST_GREEK = "\u0370"
MIN_BYTES = 4
"""Minimum number of non-ASCII bytes."""
RIVALS = ("cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2", "iso8859_15", "cp850")
"""Encodings of Latin scripts, of which only the first is ever named: accented letters alone hardly tell the others apart."""
COMMON_NAMES = ("cp1252", "gbk", "gb18030", "shift_jis", "euc_jp", "euc_kr", "koi8-r", "cp866", "cp850", "iso8859-15")
"""Preferred names of encodings that decode the bytes to the same text."""


def guess_encoding(data: bytes) -> str | None:
    """Return the encoding of a text in a single-byte or East Asian encoding; None if several are plausible.

    Args:
        data: the text, or whole lines of it.

    Source: the charset-normalizer library, whose measures are compared.
    """
    from charset_normalizer import from_bytes  # takes 30 ms to load, and is needed for bad input alone

    if sum(byte >= 0x80 for byte in data) < MIN_BYTES:
        return None
    matches = list(from_bytes(data))
    if not matches or matches[0].chaos > MAX_CHAOS:
        return None
    best, text = matches[0], str(matches[0])
    # The library leaves out encodings that it finds similar to an earlier one, so the common ones are measured on their own.
    rivals = [match for name in RIVALS for match in from_bytes(data, cp_isolation=[name])]
    for other in (*matches[1:], *rivals):
        is_less_likely = (
            other.chaos >= best.chaos + MIN_CHAOS_LEAD or other.coherence <= best.coherence - MIN_COHERENCE_LEAD
        )
        if not is_less_likely and str(other) != text and not (_is_japanese(text) and not _is_japanese(str(other))):
            return None
    if _is_halfwidth(text) or (_is_latin(text) and (_decoded(data, RIVALS[0]) != text or OPENING_IN_WORD.search(text))):
        return None
    return next((name for name in COMMON_NAMES if _decoded(data, name) == text), best.encoding.replace("_", "-"))


def _is_halfwidth(text: str) -> bool:
    """Return whether a text has half-width katakana, as which Japanese encodings read the letters of other scripts."""
    return any("\uff61" <= character <= "\uff9f" for character in text)


def _is_latin(text: str) -> bool:
    """Return whether most letters of a text are below the Greek ones in Unicode."""
    letters = [character for character in text if character.isalpha()]
    return sum(character < FIRST_GREEK for character in letters) > len(letters) / 2


def _is_japanese(text: str) -> bool:
    """Return whether a text has as many hiragana as Japanese; a wrong encoding hardly ever yields that many."""
    return sum("\u3041" <= character <= "\u309f" for character in text) >= MIN_HIRAGANA * len(text)


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None
