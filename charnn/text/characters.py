"""What Python calls a character and is none: halves of surrogate pairs. U+DC80 to U+DCFF stand for bytes that are no UTF-8."""

import re

REPLACEMENT = "\ufffd"
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_HALF_OR_BYTE = re.compile("[\ud800-\udfff]")


def whole_characters(text: str) -> str:
    """Return a text with U+FFFD for halves of surrogate pairs, which nothing can write."""
    return text if text.isascii() else _HALF.sub(REPLACEMENT, text)


def characters_only(text: str) -> str:
    """Return a text with U+FFFD for halves of surrogate pairs, and for bytes that are no UTF-8."""
    return text if text.isascii() else _HALF_OR_BYTE.sub(REPLACEMENT, text)
