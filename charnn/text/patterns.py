"""Regular expressions with Unicode's properties."""

from typing import Any


def unicode_pattern(expression: str | bytes, *, is_as_in_re: bool = False) -> Any:
    """Return a compiled pattern of the package regex, which is loaded with the first one: most models of characters need none.

    Args:
        expression: of what is to match.
        is_as_in_re: whether its brackets mean what they mean in the module `re`; otherwise they may contain set operations.

    Raises:
        ValueError: if it is no regular expression.
    """
    import regex

    try:
        return regex.compile(expression, regex.V0 if is_as_in_re else regex.V1)
    except regex.error as error:
        raise ValueError(str(error)) from error
