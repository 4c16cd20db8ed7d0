"""Regular expressions with Unicode's properties."""

from typing import Any


def unicode_pattern(expression: str | bytes, *, re_compatible: bool = False) -> Any:
    """Return a compiled pattern of the package regex, which is loaded with the first one: most models of characters need none.

    Args:
        expression: the regular expression, for texts or bytes; it may contain flags, as in `(?i)`.
        re_compatible: read brackets as the module `re` does; otherwise they may contain set operations.

    Raises:
        ValueError: if it is no regular expression, or one that would match from the end.
    """
    import regex

    try:
        compiled = regex.compile(expression, 0 if re_compatible else regex.V1)
    except regex.error as error:
        raise ValueError(str(error)) from error
    if compiled.flags & regex.REVERSE:
        raise ValueError("the flag r, by which it would match from the end, is not supported")
    return compiled
