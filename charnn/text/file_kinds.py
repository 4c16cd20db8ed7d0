"""Kinds of files that are not text, by their first bytes, and how to get text from them."""

import codecs
from typing import NamedTuple

HEAD_BYTES = 4096


class Kind(NamedTuple):
    """A kind of file.

    Args:
        name: with its article.
        remedy: how to get its text, with {name} for the file; empty if it contains none.
    """

    name: str
    remedy: str = ""


_WORD = Kind("a Word document", "save it as plain text in UTF-8, or: pandoc -t plain {name} -o text.txt")
_OFFICE = Kind("an office document", "save its text as plain text in UTF-8")
_ZIP_MEMBERS = (
    (b"word/", _WORD),
    (b"application/vnd.oasis.opendocument.text", _WORD._replace(name="an OpenDocument text")),
    (b"xl/", Kind("an Excel workbook", "save a sheet as CSV in UTF-8")),
    (b"ppt/", _OFFICE),
    (b"application/epub+zip", Kind("an e-book (EPUB)", "extract its text: pandoc -t plain {name} -o text.txt")),
)
_BY_FIRST_BYTES = (
    (b"%PDF-", Kind("a PDF document", "extract its text: pdftotext {name} text.txt")),
    (b"\x28\xb5\x2f\xfd", Kind("compressed with Zstandard", "unpack it first: unzstd {name}")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OFFICE),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7-Zip archive", "unpack it first: 7z x {name}")),
    (b"Rar!\x1a\x07", Kind("a RAR archive", "unpack it first: unrar x {name}")),
    (b"\x04\x22\x4d\x18", Kind("compressed with LZ4", "unpack it first: unlz4 {name}")),
    (b"\x1f\x9d", Kind("compressed with compress", "unpack it first: uncompress {name}")),
    (b"\x89PNG\r\n", Kind("a PNG image")),
    (b"\xff\xd8\xff", Kind("a JPEG image")),
    (b"GIF8", Kind("a GIF image")),
    (b"\x7fELF", Kind("a program")),
    (b"MZ\x90\x00", Kind("a program")),
    (b"SQLite format 3\x00", Kind("an SQLite database", "export the column of texts first")),
    (
        b"PAR1",
        Kind(
            "a Parquet table",
            'convert it, and name its column with --column: python -c "import pandas; '
            "pandas.read_parquet('TABLE').to_json('text.jsonl', orient='records', lines=True)\" (for {name})",
        ),
    ),
    (b"OggS", Kind("a recording")),
    (b"ID3", Kind("a recording")),
)
_TAR = Kind("a tar archive", "unpack it first: tar xf {name}")
_ZIP = Kind("a ZIP archive", "unpack it first: unzip {name}")

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32 first, since its mark starts with that of UTF-16."""
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
MIN_PRINTABLE = 0.98


def kind_of(head: bytes) -> Kind | None:
    """Return the kind of file that starts with these bytes, if it is a known one other than text."""
    if head.startswith(b"PK\x03\x04"):
        return next((kind for mark, kind in _ZIP_MEMBERS if mark in head), _ZIP)
    if head[257:262] == b"ustar":
        return _TAR
    return next((kind for mark, kind in _BY_FIRST_BYTES if head.startswith(mark)), None)


def encoding_by_mark(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 if the bytes start with its byte-order mark."""
    return next((encoding for mark, encoding in BYTE_ORDER_MARKS if head.startswith(mark)), None)


def wide_encoding(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 if bytes with zeros and without a byte-order mark are plain text in it."""
    if b"\0" not in head:
        return None
    plausible = []
    for encoding in _WIDE:
        whole = head[: len(head) // 4 * 4]
        try:
            text = whole.decode(encoding)
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":  # not just a truncated last character
                continue
            text = whole[: error.start].decode(encoding)
        size = 2 if encoding.startswith("utf-16") else 4
        has_nul = "\0" in head[: len(head) // size * size].decode(encoding, "replace")
        if text and not has_nul and _is_plain(text):
            plausible.append(encoding)
    return plausible[0] if len(plausible) == 1 else None


def _is_plain(text: str) -> bool:
    """Return whether a text consists mostly of printable characters, some of them ASCII."""
    num_printable = sum(character.isprintable() or character in "\r\n\t" for character in text)
    num_ascii = sum(character.isascii() for character in text)
    return num_printable >= MIN_PRINTABLE * len(text) and num_ascii >= 0.1 * len(text)
