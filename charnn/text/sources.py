"""The texts that a user names: files, directories, globs, pipes and standard input.

Every command reads text through this module. Pipes are copied before they are read several times, and a regular file is read
up to the size that it had when it was found.
"""

import bz2
import contextlib
import glob
import gzip
import io
import lzma
import os
import shutil
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from charnn.errors import TextError, first_of
from charnn.files import explain_write_errors
from charnn.notices import notice_logger
from charnn.text import zst
from charnn.text.file_kinds import HEAD_BYTES, encoding_by_mark, kind_of, wide_encoding

if TYPE_CHECKING:
    from charnn.text.columns import Column
    from charnn.text.fasta import Fasta

logger = notice_logger(__name__)

STANDARD_INPUT, PIPE_OR_NAME = "standard input", "pipe a text into the command or name a file"
SPOOL_SUFFIX = ".spool"
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
"""Files that are decompressed for byte models, too; these read all other files as they are."""


class Stamp(NamedTuple):
    """Inode, size and modification time of a file; if all are unchanged, the content is taken to be unchanged."""

    inode: int
    num_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class Source:
    """One text to read.

    Args:
        name: for messages.
        path: path of the file; None for standard input.
        stamp: stamp of a regular file when it was found; None for a pipe, which can be read only once.
        num_bytes: number of (compressed) bytes to read; None for the size in the stamp.
        separator: if only a beginning is read, it ends at its last separator.
        column: read this column of a table instead of the whole text; None to read all of it as it is.
        fasta: how its sequences are read, if it is FASTA.
        holds_numbers: whether anything but numbers is an error.
    """

    name: str
    path: Path | None
    stamp: Stamp | None = None
    num_bytes: int | None = None
    separator: str = "\n"
    column: "Column | None" = None
    fasta: "Fasta | None" = None
    holds_numbers: bool = False

    @property
    def stored_bytes(self) -> int:
        """Number of (compressed) bytes that are read; 0 if it is not known."""
        size = self.stamp.num_bytes if self.stamp else 0
        return size if self.num_bytes is None else min(size, self.num_bytes)


class OpenedSource(NamedTuple):
    """A source that is being read.

    Args:
        file: decompressed bytes.
        stored: bytes as stored on disk, whose position is the progress of reading.
    """

    file: IO[bytes]
    stored: IO[bytes]


class _Beginning(io.RawIOBase):
    """The first bytes of a file."""

    def __init__(self, file: IO[bytes], num_bytes: int) -> None:
        self._file, self._num_bytes, self._position = file, num_bytes, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read as many bytes as fit and are left."""
        view = memoryview(buffer)[: max(0, self._num_bytes - self._position)]
        num_read: int = self._file.readinto(view) if len(view) else 0  # type: ignore[attr-defined]
        self._position += num_read
        return num_read

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


@contextlib.contextmanager
def opened(source: Source, *, unpacks: bool = True) -> Iterator[OpenedSource]:
    """Open a source, decompressed if it is compressed.

    Args:
        unpacks: recognize compressed data by its first bytes alone; if False, the name must say so, too.

    Raises:
        TextError: if it cannot be read or decompressed.
    """
    with contextlib.ExitStack() as files, explained(source):
        if source.path is None:
            stored: IO[bytes] = sys.stdin.buffer
        else:
            stored = files.enter_context(source.path.open("rb"))
        if not hasattr(stored, "peek"):
            stored = cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, stored)))
            files.callback(stored.detach)  # type: ignore[attr-defined]
        if source.stamp is not None:
            beginning = _Beginning(stored, source.stored_bytes)
            stored = cast(IO[bytes], files.enter_context(io.BufferedReader(beginning, HEAD_BYTES)))
        packed = unpacks or source.name.endswith(PACKED_SUFFIXES)
        yield OpenedSource(_unpacked(stored, stored.peek(8)[:8], source.name) if packed else stored, stored)  # type: ignore[attr-defined]


def _unpacked(stored: IO[bytes], head: bytes, name: str) -> IO[bytes]:
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=stored))
    if head.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(stored))
    if head.startswith(b"\xfd7zXZ\0"):
        return cast(IO[bytes], lzma.LZMAFile(stored))
    if head.startswith(zst.MAGIC):
        return zst.open_zst(stored, name)
    return stored


@contextlib.contextmanager
def explained(source: Source) -> Iterator[None]:
    """Convert errors on reading or decompressing a source into a TextError."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise _damaged(source, error) from error
    except OSError as error:
        raise TextError(f"{source.name}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        if zst.is_zst_error(error):
            raise _damaged(source, error) from error
        raise


def _damaged(source: Source, error: Exception) -> TextError:
    return TextError(f"{source.name}: is damaged or cut short ({error}); compress or copy it again")


def find_sources(texts: Sequence[str], *, as_bytes: bool = False) -> list[Source]:
    """Return the files for names of files, directories and globs.

    Args:
        texts: files, directories (searched recursively, links followed; hidden files, models and files that are not text are
            skipped), globs, pipes, or - for standard input.
        as_bytes: take any file of a directory, not only text.

    Raises:
        TextError: if a name matches no file.
    """
    check_exist(texts)
    sources: list[Source] = []
    for text in texts:
        path = Path(text)
        if text == "-":
            sources.append(Source(STANDARD_INPUT, None))
        elif path.is_dir():
            sources += _files_below(path, as_bytes=as_bytes)
        elif path.exists():
            sources.append(_source(text, path))
        else:
            sources += [_source(match, Path(match)) for match in _matching_files(text)]
    _refuse_second_reading(sources)
    return sources


def check_exist(texts: Sequence[str]) -> None:
    """Check that each name leads to a file, a directory or standard input, without reading any of them.

    Raises:
        TextError: naming the first that does not.
    """
    for text in texts:
        path = Path(text)
        if not text:
            raise TextError("found an empty file name; name a file")
        if text == "-":
            _check_stdin()
        elif path.is_symlink() and not path.exists():
            raise TextError(f"{text}: is a link to {path.readlink()}, which does not exist; name the file itself")
        elif not path.exists():
            _matching_files(text)


def named_files(texts: Sequence[str]) -> list[str]:
    """Return the existing files that names and globs stand for, without the contents of directories and standard input.

    Example:
        >>> charnn.api.named_files(["book.txt", "chapters/*.txt"])
    """
    names = [name for text in texts for name in ([text] if Path(text).exists() else glob.glob(text, recursive=True))]  # noqa: PTH207
    return [name for name in names if name != "-" and not Path(name).is_dir()]


def _check_stdin() -> None:
    if sys.stdin is None or getattr(sys.stdin, "closed", False):
        raise TextError(f"{STANDARD_INPUT}: is closed; {PIPE_OR_NAME}")
    if sys.stdin.isatty():
        raise TextError(f"{STANDARD_INPUT}: is a terminal; {PIPE_OR_NAME}")


def display_name(text: str) -> str:
    """Return how messages name a text: by its path, or as standard input for `-`."""
    return STANDARD_INPUT if text == "-" else text


def empty_text_error(texts: Sequence[str], consequence: str) -> TextError:
    """Return the error for texts that are empty.

    Args:
        texts: as the user named them.
        consequence: what cannot be done, or what the file should contain.
    """
    names = [display_name(text) for text in texts]
    advice = PIPE_OR_NAME if names == [STANDARD_INPUT] else consequence
    return TextError(f"{', '.join(names)}: is empty; {advice}")


def readable_again(sources: Sequence[Source], directory: Path) -> list[Source]:
    """Return sources that can be read several times; pipes are copied into a directory.

    Raises:
        TextError: for a pipe that occurs twice.
        StorageError: if the copy cannot be written.
    """
    _refuse_second_reading(sources)
    return [_copied(source, directory / f"{number}{SPOOL_SUFFIX}") for number, source in enumerate(sources)]


def _source(name: str, path: Path) -> Source:
    with explained(Source(name, path)):
        status = path.stat()
    is_regular = stat.S_ISREG(status.st_mode)
    return Source(name, path, Stamp(status.st_ino, status.st_size, status.st_mtime_ns) if is_regular else None)


def _matching_files(pattern: str) -> list[str]:
    """Return the files that match a glob, sorted."""
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (pathlib refuses absolute patterns)
    files = [match for match in matches if not Path(match).is_dir()]
    if matches and not files:
        raise TextError(
            f"{pattern}: matches directories only, such as {matches[0]}; name the directory to read all files below it"
        )
    if not files:
        raise TextError(f"{pattern}: no such file or directory (looked in {Path.cwd()}); check the spelling")
    return files


def _refuse_second_reading(sources: Sequence[Source]) -> None:
    """Raise TextError for a pipe that is named twice, since the second read would be empty."""
    seen: set[object] = set()
    for source in sources:
        if source.stamp is not None:
            continue
        key = _identity(source)
        if key in seen:
            raise TextError(f"{source.name}: is named twice, but can be read only once; name it once")
        seen.add(key)


def _identity(source: Source) -> object:
    """Return what two names of one pipe have in common."""
    try:
        status = os.fstat(sys.stdin.fileno()) if source.path is None else source.path.stat()
    except (OSError, ValueError):  # standard input that is no file of the system
        return None
    return status.st_dev, status.st_ino


def _copied(source: Source, path: Path) -> Source:
    """Copy a source that can be read only once."""
    if source.stamp is not None:
        return source
    with opened(source, unpacks=False) as text, explain_write_errors(path), path.open("wb") as file:
        shutil.copyfileobj(text.stored, file)
    return _source(source.name, path)


def _files_below(directory: Path, *, as_bytes: bool) -> list[Source]:
    """Return the texts below a directory, and log which files are skipped."""
    unreadable: list[str] = []
    other_kinds: list[str] = []
    sources = []
    seen: set[tuple[int, int]] = set()
    for path in sorted(_paths_below(directory, unreadable)):
        try:
            source, status = _source(str(path), path), path.stat()
            if source.stamp is None:
                other_kinds.append(source.name)
                continue
            with opened(source) as text:
                is_wanted = as_bytes or looks_like_text(text.file.read(HEAD_BYTES))
        except TextError:
            unreadable.append(str(path))
            continue
        if (status.st_dev, status.st_ino) in seen:  # a link to another file of the directory
            continue
        seen.add((status.st_dev, status.st_ino))
        if is_wanted:
            sources.append(source)
        else:
            other_kinds.append(source.name)
    if not sources:
        num_found = len(unreadable) + len(other_kinds)
        raise TextError(f"{directory}: contains no text ({num_found} files examined); name a text file")
    skipped = [
        f"{len(names)} that {'is' if len(names) == 1 else 'are'} not {what} ({first_of(names)})"
        for names, what in ((other_kinds, "text"), (unreadable, "readable"))
        if names
    ]
    logger.info(
        f"{directory}: reading {len(sources):,} file{'s' if len(sources) > 1 else ''}"
        + (f"; skipped {' and '.join(skipped)}" if skipped else "")
    )
    return sources


def _paths_below(directory: Path, unreadable: list[str]) -> Iterator[Path]:
    """Yield the files below a directory. Links to directories are followed, and each directory is searched once."""
    searched: set[str] = set()
    walk = os.walk(directory, followlinks=True, onerror=lambda error: unreadable.append(str(error.filename)))
    for folder, folders, names in walk:
        folders[:] = [name for name in folders if not name.startswith(".")]
        real = os.path.realpath(folder)
        if real in searched or "model.safetensors" in names:  # a model is no text
            folders.clear()
            continue
        searched.add(real)
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def looks_like_text(head: bytes) -> bool:
    """Return whether a file that starts with these bytes is text in a recognizable encoding."""
    if kind_of(head) is not None:
        return False
    return b"\0" not in head or encoding_by_mark(head) is not None or wide_encoding(head) is not None


def check_unchanged(sources: Sequence[Source]) -> None:
    """Log which files grew while they were read. Raises TextError for any other change."""
    for source in sources:
        if source.stamp is None or source.path is None:
            continue
        now = _source(source.name, source.path).stamp
        if now == source.stamp:
            continue
        if now is None or now.inode != source.stamp.inode or now.num_bytes <= source.stamp.num_bytes:
            raise TextError(
                f"{source.name}: changed while it was read; run the command again when nothing writes to it"
            )
        logger.info(f"{source.name}: grew while it was read; its first {source.stamp.num_bytes:,} bytes are used")


def has_grown(source: Source) -> bool:
    """Return whether a file is longer than when it was found."""
    return source.stamp is not None and source.path is not None and source.path.stat().st_size > source.stamp.num_bytes
