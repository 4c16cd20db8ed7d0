"""HTML representations of charnn's objects in notebooks, without external scripts or styles."""

import html
import importlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar


class Shade(NamedTuple):
    """A color of tokens by surprisal.

    Args:
        below_bits: upper bound of the surprisal.
        light, dark: background of black text on a light page, and of white text on a dark one.
    """

    below_bits: float
    light: str
    dark: str


SHADES = (
    Shade(0.5, "#f8f5ea", "#242528"),
    Shade(1, "#fdeec2", "#3b3120"),
    Shade(2, "#fdd98a", "#54401c"),
    Shade(4, "#fdb863", "#6e4a18"),
    Shade(7, "#f08b3c", "#874e14"),
    Shade(math.inf, "#d9661f", "#a04c10"),
)
"""From expected to surprising, in steps of lightness, which people with any color vision tell apart. Pages have the same."""
MAX_TOKENS = 2000
"""Maximum number of tokens that are shown."""


class Token(Protocol):
    """A token and its log probability."""

    @property
    def token(self) -> str:
        """Its text."""
        ...

    @property
    def start(self) -> int:
        """Its position in the text, in characters."""
        ...

    @property
    def log_prob_nats(self) -> float | None:
        """Its log probability; None if it was not scored."""
        ...


AnyToken = TypeVar("AnyToken", bound=Token)


def level_of(bits: float) -> int:
    """Return the index of the shade of a surprisal."""
    return next(number for number, shade in enumerate(SHADES) if bits < shade.below_bits)


def with_spaces(tokens: Iterable[AnyToken], text: str, start: int = 0) -> Iterator[tuple[str, AnyToken]]:
    """Yield tokens, each with the text before it that belongs to no token, such as the space between two words.

    Args:
        start: position of the text in a longer one, to which the positions of tokens refer.
    """
    end = 0
    for token in tokens:
        first = token.start - start
        yield text[end:first], token
        is_spelled = text.startswith(token.token, first)  # not where it is a byte of a character, or a boundary
        end = max(end, first + len(token.token) if is_spelled else min(first + 1, len(text)))


def colored(tokens: Iterable[Token], caption: str, text: str = "", start: int = 0) -> str:
    """Return tokens colored by surprisal, with the surprisal in bits as a tooltip, above a caption.

    Args:
        text, start: see `with_spaces`.
    """
    parts = []
    for number, (before, token) in enumerate(with_spaces(tokens, text, start)):
        if number == MAX_TOKENS:
            parts.append("…")
            break
        parts.append(html.escape(before))
        shown = html.escape(token.token).replace("\n", "⏎<br>")
        if token.log_prob_nats is None:
            parts.append(f"<span>{shown}</span>")
            continue
        bits = -token.log_prob_nats / math.log(2) + 0.0
        shade = SHADES[level_of(bits)].light
        parts.append(f'<span style="background:{shade};color:#111" title="{bits:.2f} bits">{shown}</span>')
    return (
        f'<div style="white-space:pre-wrap;overflow-wrap:anywhere;font-family:monospace">{"".join(parts)}</div>'
        f"<small>{html.escape(caption)}</small>"
    )


def card(title: str, facts: Mapping[str, str]) -> str:
    """Return a table of facts under a title."""
    rows = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th><td style="text-align:left">{html.escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table><caption style='text-align:left'><b>{html.escape(title)}</b></caption>{rows}</table>"


class ProgressBar:
    """A progress bar in a notebook; has no effect elsewhere."""

    def __init__(self) -> None:
        self._handle = _display_handle()

    def show(self, fraction: float | None, loss_nats: float | None) -> None:
        """Show the completed fraction of training, from 0 to 1; None shows nothing."""
        if self._handle is None or fraction is None:
            return
        label = f"{100 * fraction:.0f} %" + ("" if loss_nats is None else f", loss {loss_nats:.3f} nats per token")
        markup = f'<progress max="1" value="{fraction:.4f}" style="width:60%"></progress> {label}'
        self._handle.update({"text/html": markup, "text/plain": label}, raw=True)


def _display_handle() -> "DisplayHandle | None":
    """Return the handle of an updatable display in a notebook, None elsewhere."""
    try:
        shell = importlib.import_module("IPython").get_ipython()
    except ImportError:
        return None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    handle: DisplayHandle = importlib.import_module("IPython.display").DisplayHandle()
    handle.display({"text/plain": ""}, raw=True)
    return handle


class DisplayHandle(Protocol):
    """The DisplayHandle of IPython."""

    def display(self, data: Mapping[str, str], *, raw: bool) -> None:
        """Display the data."""
        ...

    def update(self, data: Mapping[str, str], *, raw: bool) -> None:
        """Replace the displayed data."""
        ...
