"""HTML representations of charnn's objects in notebooks, without external scripts or styles."""

import html
import importlib
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

SHADES = ((0.06, "#e3f1e3"), (0.15, "#d6ecc8"), (0.3, "#f3eec0"), (0.5, "#f9dcb8"), (math.inf, "#f5c1bb"))
"""Background colors by surprisal, as upper bounds in fractions of `MAX_BITS`, from expected to surprising."""
MAX_BITS = 12.0
MAX_TOKENS = 2000
"""Maximum number of tokens that are shown."""


class Token(Protocol):
    """A token and its log probability."""

    @property
    def token(self) -> str:
        """Its text."""
        ...

    @property
    def log_prob_nats(self) -> float | None:
        """Its log probability; None if it was not scored."""
        ...


def colored(tokens: Iterable[Token], caption: str) -> str:
    """Return tokens colored by surprisal, with the surprisal in bits as a tooltip, above a caption."""
    parts = []
    for number, token in enumerate(tokens):
        if number == MAX_TOKENS:
            parts.append("…")
            break
        shown = html.escape(token.token).replace("\n", "⏎<br>")
        if token.log_prob_nats is None:
            parts.append(f"<span>{shown}</span>")
            continue
        bits = -token.log_prob_nats / math.log(2) + 0.0
        shade = next(color for bound, color in SHADES if bits / MAX_BITS <= bound)
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
