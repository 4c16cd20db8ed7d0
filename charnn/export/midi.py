"""Tunes in ABC notation as music: a MIDI file that plays one after the other, with their repeats."""

import contextlib
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
_METRE_OR_LENGTH = re.compile("^[LM]:", re.MULTILINE)
"""Without either a note is an eighth, which music21 does not know."""


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
            refused[number] = " ".join(f"{error}".split()) or type(error).__name__
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
    if not _METRE_OR_LENGTH.search(numbered):
        numbered = numbered.replace("\n", "\nL:1/8\n", 1)
    whole = stream.Stream()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what it guesses where the notation is ambiguous
        for part in converter.parseData(numbered, format="abc").parts:
            if part.hasMeasures():
                with contextlib.suppress(repeat.ExpanderException):
                    part = part.expandRepeats()
            for each in part.flatten().getElementsByClass((note.GeneralNote, tempo.MetronomeMark)):
                whole.insert(each.offset, each)
    return whole
