"""How a label stands before its unit while a text is read and split."""

from charnn.text.characters import characters_only

MARK = "\0"


def as_label(text: str) -> str:
    """Return a name as a label: one line without a mark, in characters alone, with single spaces.

    Example:
        >>> from charnn.text.label_marks import as_label
        >>> as_label(" Old  Marrow ")
        'Old Marrow'
    """
    return " ".join(characters_only(text).replace(MARK, " ").split())


def marked(label: str) -> str:
    """Return what precedes a unit with this label."""
    return f"{MARK}{label}{MARK}"
