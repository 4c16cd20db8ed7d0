"""FASTA: sequences of DNA, RNA or proteins, each record becoming one line of text.

The sequence lines of a record are joined, its header line `>name description` is left out, and a line end follows the record.
Lines that begin with a semicolon are comments, as in the oldest files.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from charnn.config.text import AmbiguousLetters, LetterCase
from charnn.errors import TextError
from charnn.text.sources import PACKED_SUFFIXES

PROTEIN_SUFFIX = ".faa"
FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".ffn", ".frn", PROTEIN_SUFFIX)
RECORD = "record"
"""The field of a score that holds the name of its record."""
CHUNK_CHARS = 1 << 20
MIN_BASES = 0.9
"""Sequences are of bases if at least this fraction of their letters is among ACGTUN (of a protein, under a third is), or if
all are codes of bases: a protein soon has one of EFILPQ."""
LOWER = bytes(range(ord("a"), ord("z") + 1))
_NOT_LOWER = bytes(set(range(256)) - set(LOWER))
_WHITE_SPACE = b" \t\n\r\f\v"
_COMMENT = re.compile(r"(?<=\n);[^\n]*")
_BASE_CODES, _BASES = b"ACGTURYSWKMBDHVNX-", b"ACGTU"
"""The codes of IUPAC, X for a masked base, and - for a gap."""
_RESIDUES = bytes(set(LOWER.upper()) - set(b"BJXZ")) + b"*"
"""Amino acids, among them selenocysteine (U) and pyrrolysine (O), and * where translation stops."""


@dataclass(frozen=True)
class Fasta:
    """How FASTA is read; stored with a model's tokenizer.

    Args:
        alphabet: of the sequences: DNA, RNA or protein.
        case: whether lower-case letters become upper case.
        ambiguous: what becomes of N and other letters that stand for several: each run becomes one, all are kept, or left out.
    """

    alphabet: str = "DNA"
    case: LetterCase = "upper"
    ambiguous: AmbiguousLetters = "collapse"

    def __post_init__(self) -> None:
        if self.alphabet not in ("DNA", "RNA", "protein"):
            raise ValueError(f"unknown alphabet {self.alphabet!r}")

    @property
    def has_bases(self) -> bool:
        """Whether the letters are bases."""
        return self.alphabet != "protein"

    @property
    def letter(self) -> str:
        """What a letter is called."""
        return "base" if self.has_bases else "residue"


class Record(NamedTuple):
    """The name of a record, and the line of the file that it begins on, from 1."""

    name: str
    line: int


def is_fasta_name(name: str) -> bool:
    """Return whether a name ends like that of a FASTA file, which may be compressed."""
    return suffix_of(name) in FASTA_SUFFIXES


def suffix_of(name: str) -> str:
    """Return the suffix of a name in lower case, without that of a compressed file."""
    path = Path(name)
    return (path.with_suffix("") if path.suffix in PACKED_SUFFIXES else path).suffix.lower()


def alphabet_of(name: str, head: str) -> str:
    """Return the alphabet of sequences by the name of their file, if it ends in .faa, or else by its beginning.

    Raises:
        TextError: if the file does not begin like FASTA.
    """
    lines = _COMMENT.sub("", "\n" + head)[1:].split("\n")
    if not "\n".join(lines).lstrip().startswith(">"):
        number = next((number for number, line in enumerate(lines, start=1) if line.strip()), 1)
        raise _not_fasta(name, number, lines[number - 1])
    if suffix_of(name) == PROTEIN_SUFFIX:
        return "protein"
    letters = "".join(line for line in lines if not line.startswith(">")).upper()
    num_letters = sum(map(str.isalpha, letters))
    num_bases = sum(map(letters.count, "ACGTUN"))
    are_codes = set(filter(str.isalpha, letters)) <= set(_BASE_CODES.decode("ascii"))
    if num_bases < MIN_BASES * num_letters and not are_codes:
        return "protein"
    return "RNA" if "U" in letters and "T" not in letters else "DNA"


def _not_fasta(name: str, line: int, found: str) -> TextError:
    shown = found.strip()
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return TextError(
        f"{name}:{line}: found {shown!r}, but FASTA begins with a line such as >name; if it is plain text, rename it to .txt"
    )


def fasta_text(
    name: str,
    chunks: Iterator[str],
    fasta: Fasta,
    *,
    is_cut: bool = False,
    notes: list[str] | None = None,
    records: deque[Record] | None = None,
) -> Iterator[str]:
    """Yield the sequences of a FASTA file in chunks, each followed by a line end.

    Args:
        name: of the file, for messages.
        chunks: of the file.
        is_cut: whether the file is only read up to some line.
        notes: receives what became of the text.
        records: receives each record before its sequence is yielded.

    Raises:
        TextError: naming the line that is no FASTA, or holds what is no base or residue, or a record without a sequence.
    """
    reader = _Reader(name, fasta, deque() if records is None else records)
    held = "\n"  # a header follows a line end
    for chunk in chunks:
        text = held + chunk
        last = text.rfind("\n")
        end = last if last >= 0 and (last == len(text) - 1 or text[last + 1] in ">;") else len(text)
        held = text[end:]
        reader.read(text[:end])
        if reader.num_gathered >= CHUNK_CHARS:
            yield reader.gathered()
    reader.read(held)
    reader.end_record(is_cut=is_cut)
    if not reader.num_records and not is_cut and reader.line > 1:
        raise TextError(f"{name}:1: found blank lines alone, but FASTA begins with a line such as >name")
    yield reader.gathered()
    if notes is not None and reader.num_records:
        notes.append(reader.note())


@dataclass
class _Reader:
    """Reads FASTA piece by piece.

    Args:
        line: number of the line up to whose end, or within which, the file was read.
        record: the record that is read; None before the first.
    """

    name: str
    fasta: Fasta
    records: deque[Record]
    line: int = 0
    record: Record | None = None
    num_records: int = 0
    num_gathered: int = 0
    _parts: list[str] = field(default_factory=list)
    _num_letters: int = 0
    _num_of_record: int = 0
    _num_lower: int = 0
    _num_comments: int = 0
    _num_ambiguous: int = 0
    _num_runs: int = 0
    _ends_in_run: bool = False

    def __post_init__(self) -> None:
        codes = _BASE_CODES if self.fasta.has_bases else LOWER.upper() + b"*-"
        certain = _BASES if self.fasta.has_bases else _RESIDUES
        self._allowed = codes + codes.lower() + _WHITE_SPACE
        self._certain = certain + certain.lower()
        self._ambiguous = re.compile(b"[" + re.escape(bytes(set(codes + codes.lower()) - set(self._certain))) + b"]+")
        self._one = b"N" if self.fasta.has_bases else b"X"
        every = bytes(range(256))
        self._table = every.upper() if self.fasta.case == "upper" else every

    def read(self, text: str) -> None:
        """Read a piece, in which each header line and each comment is whole."""
        body, *records = text.split("\n>")
        self._add(body)
        for record in records:
            self.end_record()
            header, line_end, body = record.partition("\n")
            self.line += 1
            self._begin(header)
            self._add(line_end + body)

    def gathered(self) -> str:
        """Return the text since the last call."""
        text = "".join(self._parts)
        self._parts, self.num_gathered = [], 0
        return text

    def _begin(self, header: str) -> None:
        self.num_records += 1
        name = next(iter(header.split(maxsplit=1)), str(self.num_records))
        self.record = Record(name, self.line)
        self.records.append(self.record)
        self._num_of_record, self._ends_in_run = 0, False

    def end_record(self, *, is_cut: bool = False) -> None:
        """Close the record that is read, if any."""
        if self.record is None:
            return
        if not self._num_of_record and not is_cut:
            raise TextError(
                f"{self.name}:{self.record.line}: found no sequence after >{self.record.name}; complete it, or remove it"
            )
        self._num_letters += self._num_of_record
        self._gather("\n")
        self.record = None

    def _gather(self, text: str) -> None:
        self._parts.append(text)
        self.num_gathered += len(text)

    def _add(self, body: str) -> None:
        if "\n;" in body:
            body, num_comments = _COMMENT.subn("", body)
            self._num_comments += num_comments
        data = body.encode("ascii", "replace")
        if data.translate(None, self._allowed):
            self._refuse(body)
        letters = data.translate(self._table, _WHITE_SPACE)
        if letters and self.record is None:
            first = re.search(r"\S.*", body)
            assert first is not None
            raise _not_fasta(self.name, self.line + body.count("\n", 0, first.start()), first[0])
        self.line += body.count("\n")
        self._num_of_record += len(letters)
        self._num_lower += len(data.translate(None, _NOT_LOWER))
        num_ambiguous = len(letters.translate(None, self._certain))
        if num_ambiguous:
            self._num_ambiguous += num_ambiguous
            letters = self._without_ambiguous(letters)
        elif letters:
            self._ends_in_run = False
        if letters:
            self._gather(letters.decode("ascii"))

    def _without_ambiguous(self, letters: bytes) -> bytes:
        if self.fasta.ambiguous == "keep":
            return letters
        goes_on = self._ends_in_run and self._ambiguous.match(letters) is not None
        self._ends_in_run = letters[-1:].translate(None, self._certain) != b""
        replaced, num_runs = self._ambiguous.subn(self._one if self.fasta.ambiguous == "collapse" else b"", letters)
        self._num_runs += num_runs - goes_on
        return replaced[1:] if goes_on and self.fasta.ambiguous == "collapse" else replaced

    def _refuse(self, body: str) -> None:
        """Raise TextError for the first character that is no letter of the alphabet."""
        allowed = set(self._allowed.decode("ascii"))
        place, found = next((place, character) for place, character in enumerate(body) if character not in allowed)
        line = self.line + body.count("\n", 0, place)
        if self.record is None:
            raise _not_fasta(self.name, line, body[body.rfind("\n", 0, place) + 1 :].partition("\n")[0])
        wanted = "a base (ACGTU, or a code of IUPAC)" if self.fasta.has_bases else "an amino acid, * or -"
        raise TextError(
            f"{self.name}:{line}: found {found!r} in >{self.record.name}, which is not {wanted}; correct it, or keep "
            f"{'proteins' if self.fasta.has_bases else 'other text'} in files of their own"
        )

    def note(self) -> str:
        """Return what was read, and what became of it."""
        fasta = self.fasta
        parts = [f"{self.name}: {_counted(self.num_records, 'record')} of {_counted(self._num_letters, fasta.letter)}"]
        if self._num_comments:
            parts.append(f"{_counted(self._num_comments, 'comment line')} (;) left out")
        if self._num_lower and fasta.case == "upper":
            parts.append(f"{self._num_lower:,} lower-case letters became upper case (--fasta-case keep keeps them)")
        if self._num_ambiguous and fasta.ambiguous != "keep":
            of = self._one.decode("ascii") + " and the like"
            became = f"became one {self._one.decode('ascii')} each" if fasta.ambiguous == "collapse" else "are left out"
            runs = f"{_counted(self._num_runs, 'run')} of {of} ({_counted(self._num_ambiguous, 'letter')})"
            parts.append(f"{runs} {became} (--ambiguous)")
        return "; ".join(parts)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
