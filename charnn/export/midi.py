"""Tunes in ABC notation as music: a MIDI file that plays one after the other, with their repeats."""

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from music21 import converter, midi, note, repeat, stream, tempo

from charnn.text.tunes import NUMBER, joined

PAUSE = 4.0
"""Rest between two tunes, in quarter notes."""
TEMPO = 120
"""Quarter notes a minute of a tune that says nothing of its tempo."""
_HEADER = re.compile(r"(?:(?:[A-Za-z]:|%).*\n)*")
_METRE_OR_LENGTH = re.compile("^[LM]:", re.MULTILINE)
"""Without either in its header a note is an eighth, which music21 does not know."""
_FIELDS = (
    ("L:", "note length", "L:1/8", re.compile(r"\d+(/[1-9]\d*)?")),
    ("M:", "metre", "M:6/8", re.compile(r"(C\|?|none|[\d+() ]*\d\)?/[1-9]\d*)?")),
    ("Q:", "tempo", "Q:1/4=120", re.compile(r'("[^"]*"|\d+/[1-9]\d*|=|\d+| )*')),
)
"""What it must read in the header or between the notes: the field, its name, an example, and the form of its value."""
LONGEST_SHOWN = 40
"""Characters of a line that a reason shows."""


class Music(NamedTuple):
    """A MIDI file.

    Args:
        content: of the file; empty if no tune can be played.
        refused: the tunes that cannot be played, by position from 0, and why not.
    """

    content: bytes
    refused: dict[int, str]


def music_of(tunes: Sequence[str], *, is_spaced: bool = False) -> Music:
    """Return tunes as a MIDI file, each in its tempo (`Q:`, or else `TEMPO`).

    Args:
        tunes: in ABC notation; a missing number (X:) is added.
        is_spaced: whether white space stands between all tokens, also between a note and its length (see `joined`).
    """
    whole, position = stream.Part(), 0.0
    refused: dict[int, str] = {}
    for number, tune in enumerate(tunes):
        try:
            played = _played(joined(tune) if is_spaced else tune)
        except Exception as error:  # music21 raises what it comes across, also IndexError and the like
            refused[number] = _reason(tune, error)
            continue
        if not played.notes:
            refused[number] = "it has no note"
            continue
        if not played.getElementsByOffset(0.0).getElementsByClass(tempo.MetronomeMark):
            whole.insert(position, tempo.MetronomeMark(number=TEMPO))
        whole.insert(position, played)
        position += played.highestTime + PAUSE
    if len(refused) == len(tunes):
        return Music(b"", refused)
    return Music(midi.translate.streamToMidiFile(whole.flatten()).writestr(), refused)


def _played(tune: str) -> "stream.Stream":
    """Return the notes of all voices as they are played; if their repeats do not fit together, as they are written."""
    numbered = tune if tune.startswith(NUMBER) else f"{NUMBER}1\n{tune}"
    header = _HEADER.match(numbered)
    if header is None or not _METRE_OR_LENGTH.search(header[0]):
        numbered = numbered.replace("\n", "\nL:1/8\n", 1)
    whole = stream.Stream()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # music21 writes some itself
        warnings.simplefilter("ignore")  # about what it guesses where the notation is ambiguous
        for part in converter.parseData(numbered, format="abc").parts:
            if part.hasMeasures():
                with contextlib.suppress(repeat.ExpanderException):
                    part = part.expandRepeats()
            for each in part.flatten().getElementsByClass((note.GeneralNote, tempo.MetronomeMark)):
                whole.insert(each.offset, each)
    return whole


def _reason(tune: str, error: Exception) -> str:
    """Return why a tune cannot be read, in place of what music21 says, which is about its own objects."""
    for line in tune.split("\n"):
        for field, what, example, form in _FIELDS:
            value = line.partition("%")[0].removeprefix(field).strip()
            if line.startswith(field) and not form.fullmatch(value):
                shown = line if len(line) <= LONGEST_SHOWN else line[: LONGEST_SHOWN - 3] + "..."
                return f"found {shown!r}, but a {what} is written as in {example}"
    if "closing bracket" in f"{error}":
        return "a chord is not closed with ]"
    return "its notes are not valid ABC notation"
