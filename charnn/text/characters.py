"""Replacement of lone surrogates. U+DC80 to U+DCFF represent bytes that are not UTF-8 (surrogateescape)."""

import re

REPLACEMENT = "\ufffd"
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_HALF_OR_BYTE = re.compile("[\ud800-\udfff]")


def is_escaped_byte(text: str) -> bool:
    """Return whether a text is a single byte that is not UTF-8."""
    return len(text) == 1 and "\udc80" <= text <= "\udcff"


def whole_characters(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded, by U+FFFD, except escaped bytes."""
    return text if text.isascii() else _HALF.sub(REPLACEMENT, text)


def characters_only(text: str) -> str:
    """Replace lone surrogates, including escaped bytes, by U+FFFD."""
    return text if text.isascii() else _HALF_OR_BYTE.sub(REPLACEMENT, text)
