"""What the units of a text have in common: how they are separated, and what closes them."""

from charnn.config import ScoredUnit


def has_own_boundary(unit: ScoredUnit) -> bool:
    """Return whether a unit has several lines, so that not the line end closes it, but a token of its own.

    Example:
        >>> has_own_boundary("tune"), has_own_boundary("line")
        (True, False)
    """
    return unit in ("document", "tune")


def separator_of(unit: ScoredUnit) -> str:
    """Return what separates two units, or the texts of two files: a line end, or a blank line.

    Example:
        >>> separator_of("tune")
        '\\n\\n'
    """
    return "\n\n" if has_own_boundary(unit) else "\n"
