"""Tunes in ABC notation: each begins with a reference number, as in `X:1`, and ends before a blank line or the next `X:`.

A tune stays as it is written, with its header and its comments. folk-rnn's files leave out the numbers: there, a tune is a
document that begins with another field and has a key (`K:`). Other text, such as the header of a file, is left out.

Source: The ABC music standard 2.1 (2011), section 2.2; Sturm et al. (2016) for files without numbers.
"""

import re
from collections.abc import Iterator

from charnn.errors import TextError
from charnn.text.fasta import suffix_of
from charnn.text.reading import lines

ABC_SUFFIX = ".abc"
NUMBER = "X:"
_FIELD = re.compile(r"[A-Za-z]:(?!\|)")
LONGEST_SHOWN = 40
"""Characters of a line that a message shows."""


def is_abc_name(name: str) -> bool:
    """Return whether a name ends like that of a file in ABC notation, which may be compressed.

    Example:
        >>> is_abc_name("reels.abc.gz"), is_abc_name("reels.txt")
        (True, False)
    """
    return suffix_of(name) == ABC_SUFFIX


def tunes(chunks: Iterator[str], name: str, notes: list[str] | None = None) -> Iterator[str]:
    """Yield each tune of one or several files without its final line end (see `numbered_tunes`).

    A note shows the text that was left out, without a line number, since the lines of the files are counted together.
    """
    return (text for _, text in numbered_tunes(chunks, name, notes, names_line=False))


def numbered_tunes(
    chunks: Iterator[str], name: str, notes: list[str] | None = None, *, names_line: bool = True
) -> Iterator[tuple[int, str]]:
    """Yield each tune with the number of its first line, from 1.

    Args:
        chunks: the text, with LF line ends.
        name: of the text, for messages.
        notes: receives how much text was left out, if any was.
        names_line: whether the line of the first such text is noted.

    Raises:
        TextError: at the end of a text without tunes.
    """
    num_tunes, left_out = 0, _LeftOut(name)
    for first, block in _blocks(chunks):
        if is_tune(block):
            num_tunes += 1
            yield first, "\n".join(block)
        else:
            left_out.add(first, block)
    if not num_tunes:
        raise left_out.error()
    if notes is not None and left_out.num_blocks:
        notes.append(left_out.note(names_line=names_line))


def is_tune(block: list[str]) -> bool:
    """Return whether some lines without a blank one among them are a tune.

    Example:
        >>> is_tune(["X:1", "K:G", "GABc|"]), is_tune(["M:4/4", "K:G", "GABc|"]), is_tune(["M:4/4"])
        (True, True, False)
    """
    return block[0].startswith(NUMBER) or (
        _FIELD.match(block[0]) is not None and any(line.startswith("K:") for line in block)
    )


def _blocks(chunks: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines between blank lines, also divided before each `X:`, and the number of the first one."""
    held: list[str] = []
    first = 1
    for number, line in enumerate(lines(chunks), start=1):
        if held and (line.startswith(NUMBER) or not line.strip()):
            yield first, held
            held = []
        if line.strip():
            first = first if held else number
            held.append(line)
    if held:
        yield first, held


class _LeftOut:
    """Counts text that is not a tune.

    Args:
        name: of the whole text.
    """

    def __init__(self, name: str) -> None:
        self.num_blocks = 0
        self._name, self._first, self._line = name, 1, ""

    def add(self, first: int, block: list[str]) -> None:
        """Count the lines between two blank lines or tunes."""
        if not self.num_blocks:
            self._first, self._line = first, block[0].strip()
        self.num_blocks += 1

    def _shown(self) -> str:
        line = self._line
        return repr(line if len(line) <= LONGEST_SHOWN else line[: LONGEST_SHOWN - 3] + "...")

    def error(self) -> TextError:
        """Return the error for a text without tunes."""
        if not self.num_blocks:
            return TextError(f"{self._name}: contains only white space, but --unit tune needs tunes in ABC notation")
        return TextError(
            f"{self._name}:{self._first}: found {self._shown()}, but a tune in ABC notation begins with a line such as X:1; "
            "name files in ABC notation, or use --unit document for other text between blank lines"
        )

    def note(self, *, names_line: bool) -> str:
        """Return how much was left out."""
        first = f"the first, in line {self._first}" if names_line else "the first"
        many = self.num_blocks > 1
        blocks = f"{self.num_blocks:,} blocks" if many else "1 block"
        return (
            f"{self._name}: {blocks} of text that {'are not tunes' if many else 'is not a tune'} (no X: at the beginning) "
            f"{'are' if many else 'is'} left out; {first}: {self._shown()}"
        )


def joined(tune: str) -> str:
    """Return a tune of folk-rnn's kind, whose tokens are separated by spaces, as ABC notation has it.

    The fields are in lines of their own, and a note without a length is an eighth.

    Example:
        >>> from charnn.text.tunes import joined
        >>> joined("M:6/8\\nK:Cdor\\nG 2 A B c d |")
        'M:6/8\\nL:1/8\\nK:Cdor\\nG2ABcd|'
    """
    lines_found = [line if _FIELD.match(line) else line.replace(" ", "") for line in tune.split("\n")]
    if not any(line.startswith("L:") for line in lines_found):
        key = next((index for index, line in enumerate(lines_found) if line.startswith("K:")), 0)
        lines_found.insert(key, "L:1/8")
    return "\n".join(lines_found)
