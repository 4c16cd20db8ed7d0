"""Atomic writes, and reading of JSON.

Data is written to `NAME.new` in the same directory, flushed to disk and renamed. If two files must agree, both are staged
before either is renamed, so that one complete generation is on disk at any time, under the final or the staged names.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from charnn.errors import ModelError, StorageError

JsonObject = dict[str, Any]
Content = bytes | Sequence[bytes | memoryview]
"""The content of a file, in one part or several."""
"""A JSON object, parsed or to be written: the only dictionaries with values of any type."""

STAGED_SUFFIX = ".new"
PART_SUFFIX = ".part"
"""Suffix of a file left incomplete by an interrupt."""
BLOCK_BYTES = 1 << 16
WAITS_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.4)

SHARING_VIOLATION = 32
"""Windows error code for a file in use."""

_REMEDIES = {
    errno.ENOSPC: "no space is left on the disk; free some and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
    errno.EFBIG: "the file would exceed the size limit of this process (ulimit -f); raise it and run the command again",
    errno.EROFS: "the file system is read-only; choose another location",
    errno.EACCES: "permission denied; choose a writable location",
    errno.EPERM: "permission denied; choose a writable location",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
    errno.ELOOP: "its path is a loop of symbolic links; choose another location",
    errno.ENOENT: "there is no such directory; create it, or choose another location",
}


WORKING_DIRECTORY_IS_GONE = (
    "the working directory no longer exists; change to another one with cd, and run the command again"
)


def has_working_directory() -> bool:
    """Return whether the working directory of this process still exists."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def staged(path: Path) -> Path:
    """Return the name under which a file is staged before it is renamed."""
    return path.with_name(path.name + STAGED_SUFFIX)


def _new_file(path: Path, suffix: str) -> Path:
    """Create an empty file beside another, with its name and a suffix; a number is added rather than replacing a file."""
    for number in itertools.count(1):
        file = path.with_name(f"{path.name}{suffix}" if number == 1 else f"{path.name}.{number}{suffix}")
        with contextlib.suppress(FileExistsError):
            file.touch(exist_ok=False)
            return file
    raise AssertionError


@contextlib.contextmanager
def explain_write_errors(path: Path | str) -> Iterator[None]:
    """Convert an OSError on writing `path` into a StorageError with a remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            remedy = _obstacle(Path(path)) or remedy
        if getattr(error, "winerror", None) == SHARING_VIOLATION:
            remedy = "another program has it or a file in it open; close that program and run the command again"
        raise StorageError(f"{path}: cannot be written: {remedy}") from error


def _obstacle(path: Path) -> str | None:
    """Return what stands in a path where a directory must be, and what to do; None if nothing does."""
    for part in (*reversed(path.parents), path):
        if part.is_symlink() and not part.exists():
            return f"{part} is a link that leads nowhere; choose another location"
        if part.exists() and not part.is_dir():
            return f"{part} is a file, not a directory; choose another location"
    return None


def refuse_unwritable(path: Path) -> None:
    """Check in advance that a file can be written. Raises StorageError."""
    if path.is_dir():
        raise StorageError(f"{path}: is a directory, but must be a file; name a file in it")
    if path.exists() and not path.is_file():
        return
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{path}: cannot be written: {_REMEDIES[errno.ELOOP]}") from error
    if obstacle := _obstacle(target.parent):
        raise StorageError(f"{path}: cannot be written: {obstacle}")
    if not target.parent.is_dir():
        raise StorageError(f"{path}: cannot be written: there is no directory {target.parent}; create it first")
    if not os.access(target.parent, os.W_OK):
        raise StorageError(f"{path}: cannot be written: {_REMEDIES[errno.EACCES]}")


def write_together(files: Sequence[tuple[Path, Content]]) -> None:
    """Replace files that must be consistent with each other, all or none of them.

    Args:
        files: path and content of each, all in one directory.

    Raises:
        StorageError: if the disk is full or read-only; the files are then unchanged.
    """
    written: list[Path] = []
    try:
        for path, content in files:
            written.append(staged(path))
            with explain_write_errors(path):
                _write_through(staged(path), content)
    except BaseException:
        for path in written:
            with contextlib.suppress(OSError):  # the first error is reported
                path.unlink(missing_ok=True)
        raise
    for path, _ in files:
        with explain_write_errors(path):
            _replace(staged(path), path)
    with explain_write_errors(files[0][0].parent):
        _flush_directory(files[0][0].parent)


def write_atomically(path: Path, content: Content) -> None:
    """Replace one file of a model directory atomically.

    Raises:
        StorageError: if that is not possible.
    """
    write_together([(path.resolve(), content)])


def write_output(path: Path, content: Content) -> None:
    """Replace a file that the user named atomically; links are followed, devices and pipes are written directly.

    No other file is replaced, not even one with the name that a staged file would get.

    Raises:
        StorageError: if that is not possible.
    """
    with explain_write_errors(path):
        if path.exists() and not path.is_file():
            path.write_bytes(b"".join(_parts(content)))
            return
        target = path.resolve()
        staging = _new_file(target, STAGED_SUFFIX)
        try:
            _write_through(staging, content)
            _replace(staging, target)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is reported
                staging.unlink(missing_ok=True)
            raise
        _flush_directory(target.parent)


class LineFile:
    """A file written line by line and renamed to its final name on closing; devices and pipes are written directly."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises StorageError if it cannot be written."""
        refuse_unwritable(path)
        self.path = path
        self._is_plain = not path.exists() or path.is_file()
        self._target = path.resolve() if self._is_plain else path
        with explain_write_errors(path):
            self._growing = _new_file(self._target, STAGED_SUFFIX) if self._is_plain else path
            self._file = self._growing.open("w", encoding="utf-8", errors="surrogateescape", newline="\n")

    def write(self, text: str) -> None:
        """Write a part of a line. Raises StorageError."""
        with explain_write_errors(self.path):
            self._file.write(text)

    def write_line(self, text: str) -> None:
        """Write a line. Raises StorageError."""
        self.write(text + "\n")

    def close(self) -> None:
        """Rename the file to its final name. Raises StorageError."""
        with explain_write_errors(self.path):
            self._file.flush()
            if self._is_plain:
                os.fsync(self._file.fileno())
            self._file.close()
            if self._is_plain:
                _replace(self._growing, self._target)
                _flush_directory(self._target.parent)

    def abandon(self) -> Path | None:
        """Stop early: complete lines, if any, are kept in a separate file, whose path is returned."""
        with contextlib.suppress(OSError):  # a full disk may refuse the last lines
            self._file.close()
        if not self._is_plain or not self._growing.exists():
            return None
        num_bytes = _bytes_of_whole_lines(self._growing)
        if not num_bytes:
            self._growing.unlink()
            return None
        os.truncate(self._growing, num_bytes)
        partial = _new_file(self._target, PART_SUFFIX)
        self._growing.replace(partial)
        return self.path.with_name(partial.name) if self.path.parent.resolve() == partial.parent else partial


def _bytes_of_whole_lines(path: Path) -> int:
    """Return the size of the complete lines of a file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for first in range((size - 1) // BLOCK_BYTES * BLOCK_BYTES, -1, -BLOCK_BYTES):
            file.seek(first)
            end = file.read(BLOCK_BYTES).rfind(b"\n")
            if end >= 0:
                return first + end + 1
    return 0


def _parts(content: Content) -> Sequence[bytes | memoryview]:
    return [content] if isinstance(content, bytes) else content


def _write_through(path: Path, content: Content) -> None:
    with path.open("wb") as file:
        for part in _parts(content):
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _replace(source: Path, target: Path) -> None:
    """Rename a file over another, with retries: Windows refuses while another process reads it."""
    for seconds in WAITS_SECONDS:
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(seconds)
        else:
            return
    source.replace(target)


def _flush_directory(directory: Path) -> None:
    """Flush the entries of a directory to disk; Windows, which cannot open directories, does so itself."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory and its parents. Raises StorageError."""
    with explain_write_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def staging_names(target: Path) -> tuple[Path, Path]:
    """Return the directories in which a new version of a directory is made, and the old one kept until it is replaced."""
    new, old = (target.with_name(f".{target.name}.charnn-{suffix}") for suffix in ("new", "old"))
    return new, old


@contextlib.contextmanager
def staging_directory(target: Path) -> Iterator[Path]:
    """Yield a new directory that replaces `target` if the block ends without an exception, and is removed otherwise.

    No file in it may be open or memory-mapped at the end of the block: Windows does not move directories with such files.

    Raises:
        StorageError: if it cannot be created.
    """
    staging, replaced = staging_names(target)
    if replaced.exists() and not target.exists():
        replaced.rename(target)  # an earlier swap was interrupted
    for stale in (staging, replaced):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    make_directory(staging)
    try:
        yield staging
        _swap(staging, target, replaced)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, target: Path, replaced: Path) -> None:
    """Replace one directory by another, and remove the old one afterwards."""
    with explain_write_errors(target):
        try:
            if target.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                target.rename(replaced)
            staging.rename(target)
        except BaseException:
            if replaced.exists() and not target.exists():
                replaced.rename(target)
            raise
        _flush_directory(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


_FORBIDDEN = str.maketrans(dict.fromkeys('<>:"/\\|?*', "-"))
_RESERVED = {"con", "prn", "aux", "nul", *(f"{device}{number}" for device in ("com", "lpt") for number in range(10))}
"""Device names on Windows, with any extension."""


def portable_name(name: str) -> str:
    """Return a similar name that is valid on every system; it may be empty.

    Source: Microsoft, Naming Files, Paths, and Namespaces.
    """
    plain = "".join(character for character in name.translate(_FORBIDDEN) if character.isprintable()).rstrip(". ")
    device, dot, rest = plain.partition(".")
    return f"{device}-{dot}{rest}" if device.rstrip(" ").lower() in _RESERVED else plain


def json_bytes(value: Any) -> bytes:
    """Return a value as indented UTF-8 JSON with a final newline."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def sha256_hex(*contents: bytes) -> str:
    """Return the SHA-256 of the concatenated contents, in hexadecimal."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def read_json(path: str, content: bytes, newest_version: int) -> JsonObject:
    """Parse a JSON object with a format version.

    Raises:
        ModelError: if it is damaged, or of a newer version than this charnn supports.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: is damaged, not JSON ({error}); restore the file or train again") from error
    if not isinstance(value, dict) or not isinstance(value.get("format_version"), int):
        raise ModelError(f"{path}: found no format_version, so it is not a charnn file; name a model directory")
    if value["format_version"] > newest_version:
        raise ModelError(
            f"{path}: has format version {value['format_version']}, this charnn reads up to {newest_version}; "
            "install a newer charnn"
        )
    return value


def to_json(value: Any) -> str:
    """Return JSON that is valid UTF-8 even if the text contains invalid bytes; infinity and NaN become null.

    Example:
        >>> charnn.api.to_json({"loss": float("nan")})
        '{"loss": null}'
    """
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""Characters that some readers treat as line ends, although JSON does not."""


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
