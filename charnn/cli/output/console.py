"""The only place that writes to the terminal: results to stdout, all else to stderr."""

import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from charnn.errors import StorageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text


class _ClosedOutput(io.TextIOBase):
    """Takes the place of a standard output that was closed before the program started."""

    def write(self, text: str) -> int:  # noqa: ARG002
        """Raise StorageError."""
        raise StorageError("standard output: is closed; open it, or write to a file (-o)")


def prepare_streams() -> None:
    """Set the streams to UTF-8 and LF line ends on any system; the bytes that a byte model generates are kept.

    A closed stderr is ignored, and a closed stdout is an error once something is written to it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which a data file must not get
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (open until the end)
    sys.stdout = sys.stdout or cast(TextIO, _ClosedOutput())
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")


def write(text: str, *, flush: bool = True) -> None:
    """Write a result without adding a line end."""
    sys.stdout.write(text)
    if flush:
        sys.stdout.flush()


def is_terminal() -> bool:
    """Return whether results go to a terminal."""
    return sys.stdout.isatty()


def write_line(text: str) -> None:
    """Write a line of results."""
    sys.stdout.write(text + "\n")


def write_json(value: Any) -> None:
    """Write one JSON value on a line of its own."""
    write_line(to_json(value))


def to_json(value: Any) -> str:
    """Return JSON that is valid UTF-8 even if the text contains invalid bytes; infinity and NaN become null."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""Characters that some readers take for line ends, though JSON does not."""


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def notice(message: str) -> None:
    """Write a message to stderr; a closed terminal is ignored."""
    clear_notice_in_place()
    with contextlib.suppress(OSError):
        sys.stderr.write(f"charnn: {message}\n")
        sys.stderr.flush()


class _Notices(logging.Handler):
    """Logging handler that shows the library's messages as notices."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        notice(getattr(record, "in_flags", record.getMessage()))


@contextlib.contextmanager
def library_notices() -> Iterator[None]:
    """Show the library's log messages while the block runs."""
    logger, handler = logging.getLogger("charnn"), _Notices()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


_has_notice_in_place = False


def notice_in_place(message: str) -> None:
    """Show a notice on a terminal's last line, until the next notice takes its place."""
    global _has_notice_in_place
    _has_notice_in_place = True
    _rewrite_last_line(f"charnn: {fitting(message, error_width() - len('charnn: ') - 1)}")


def clear_notice_in_place() -> None:
    """Take away what `notice_in_place` shows."""
    global _has_notice_in_place
    if _has_notice_in_place:
        _has_notice_in_place = False
        _rewrite_last_line("")


def _rewrite_last_line(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()


def notices_are_watched() -> bool:
    """Return whether notices go to a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def error_width() -> int:
    """Return the width of the terminal for notices, in columns."""
    return error_console().width


def new_table(*, title: str | None = None) -> "Table":
    """Return a table without columns."""
    from rich import box, table  # takes long to load

    return table.Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")


def new_text(*parts: "str | tuple[str, str]") -> "Text":
    """Return styled text assembled from parts, each plain or with a style."""
    from rich.text import Text

    return Text.assemble(*parts)


def show(renderable: "RenderableType") -> None:
    """Write a table or other renderable as a result."""
    output_console().print(renderable)


def to_user(message: "RenderableType") -> None:
    """Write a renderable to stderr, for interactive use."""
    error_console().print(message)


def prepare_input() -> None:
    """Accept bytes on standard input that are not UTF-8."""
    reconfigure = getattr(sys.stdin, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="surrogateescape")


def ask(question: str) -> str | None:
    """Ask for a line; None at the end of the input."""
    sys.stderr.write(question)
    sys.stderr.flush()
    line = "" if sys.stdin is None else sys.stdin.readline()
    return line.rstrip("\n") if line else None


def output_console() -> "Console":
    """Return a rich console on stdout."""
    return _plain_console(sys.stdout)


def error_console() -> "Console":
    """Return a rich console on stderr."""
    return _plain_console(sys.stderr)


def _plain_console(file: IO[str]) -> "Console":
    from rich.console import Console

    return Console(file=file, soft_wrap=False, highlight=False, emoji=False, markup=False)


def counted(number: int, name: str) -> str:
    """Return "1 token", "2 tokens"."""
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def cell_width(text: str) -> int:
    """Return the width of a text on a terminal, in columns."""
    from rich.cells import cell_len

    return cell_len(text)


def terminal_width() -> int:
    """Return the width of the terminal for results, in columns."""
    return output_console().width


def has_colors() -> bool:
    """Return whether results go to a terminal with colors."""
    return is_terminal() and output_console().color_system is not None


def show_line(text: "RenderableType") -> None:
    """Write a styled line of results without wrapping."""
    output_console().print(text, soft_wrap=True)


def fitting(text: str, width: int) -> str:
    """Return a text truncated to a number of columns, with an ellipsis if it was longer."""
    if cell_width(text) <= width:
        return text
    while text and cell_width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def padded(text: str, width: int) -> str:
    """Return a text padded with spaces to a number of columns."""
    return text + " " * max(0, width - cell_width(text))


def visible_line(text: str) -> str:
    """Return a text with each control character replaced by a visible one; spaces are kept."""
    return "".join(
        "⏎" if character == "\n" else character if character == " " or character.isprintable() else "·"
        for character in text
    )


def visible(text: str) -> str:
    """Return a token with white space and control characters made visible."""
    marks = {"\n": "⏎", " ": "␣", "\t": "⇥", "": "∅"}
    if text in marks:
        return marks[text]
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return shown.replace(" ", "␣")
