"""A cache of encoded texts, their n-gram counts and rates fitted to them, for later runs on the same text.

An entry is a directory of files and a manifest with their digests. It is written under a temporary name and renamed, so it is
complete or absent, even with concurrent writers. The least recently used entries are evicted.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charnn import __version__
from charnn.files import JsonObject

ENVIRONMENT_VARIABLE = "CHARNN_CACHE_DIR"
FORMAT_VERSION = 1
MOST_BYTES = 2 << 30
MIN_TEXT_BYTES = 1 << 20
"""Shorter texts are not cached."""
_MANIFEST, _UNFINISHED = "manifest.json", "new-"
_MAX_SECONDS_UNFINISHED = 24 * 3600.0
"""Unfinished entries older than this are regarded as abandoned."""
_BLOCK_BYTES = 1 << 20


def cache_directory() -> Path | None:
    """Return the cache directory: `CHARNN_CACHE_DIR`, or that of the platform; None if there is none."""
    configured = os.environ.get(ENVIRONMENT_VARIABLE)
    if configured is not None:
        return Path(configured) if configured else None
    with contextlib.suppress(RuntimeError):  # a user without a home directory
        return _platform_cache() / "charnn"
    return None


def _platform_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def make_cache_key(**facts: Any) -> str:
    """Return the cache key of a result: a digest of everything that it depends on."""
    versions = {"cache_format_version": FORMAT_VERSION, "charnn_version": __version__}
    text = json.dumps(versions | facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fetch(root: Path | None, key: str, directory: Path | None) -> JsonObject | None:
    """Copy the files of an entry into a directory and return its facts; None if there is no such entry.

    A damaged entry is removed.

    Args:
        directory: None for an entry of facts alone.
    """
    if root is None:
        return None
    entry = root / key
    try:
        if not entry.exists():
            return None
        manifest = json.loads((entry / _MANIFEST).read_bytes())
        facts: JsonObject = manifest["facts"]
        if make_cache_key(facts=facts) != manifest["digest"]:
            raise ValueError(f"{entry / _MANIFEST}: is damaged")
        for name, digest in manifest["files"].items() if directory is not None else ():
            _copy(entry / name, directory / name, digest)
        with contextlib.suppress(OSError):  # a read-only cache
            os.utime(entry / _MANIFEST)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    except OSError:  # the entry is unreadable, or the disk is full
        return None
    return facts


def _copy(source: Path, target: Path, digest: str) -> None:
    """Copy a file and flush it to disk. Raises ValueError if its digest differs."""
    hasher = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while content := reading.read(_BLOCK_BYTES):
            hasher.update(content)
            writing.write(content)
        writing.flush()
        os.fsync(writing.fileno())
    if hasher.hexdigest() != digest:
        raise ValueError(f"{source}: is damaged")


def store(root: Path | None, key: str, files: Mapping[str, Path], facts: Mapping[str, Any]) -> None:
    """Copy files into a new entry, and evict old ones if necessary. Entries that cannot be stored are skipped."""
    if root is None or sum(path.stat().st_size for path in files.values()) > MOST_BYTES:
        return
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=root))
        try:
            digests = {}
            for name, path in files.items():
                shutil.copyfile(path, unfinished / name)
                with path.open("rb") as file:
                    digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
            manifest = {"files": digests, "facts": facts, "digest": make_cache_key(facts=facts)}
            (unfinished / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")  # ASCII: names may not be UTF-8
            unfinished.replace(root / key)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _make_room(root)


@dataclass(frozen=True)
class Entry:
    """An entry of the cache.

    Args:
        what: description for users.
        num_bytes: size of all its files.
        used: time of last use, in seconds since 1970.
    """

    path: Path
    what: str
    num_bytes: int
    used: float


def entries(root: Path | None) -> list[Entry]:
    """Return the entries, the least recently used first."""
    listed = []
    for path in root.glob("*/") if root is not None and root.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, AttributeError):  # another process may be removing it
            used = (path / _MANIFEST).stat().st_mtime
            facts = json.loads((path / _MANIFEST).read_bytes()).get("facts", {})
            num_bytes = sum(file.stat().st_size for file in path.iterdir())
            listed.append(Entry(path, str(facts.get("what", "?")), num_bytes, used))
    return sorted(listed, key=lambda entry: entry.used)


def _make_room(root: Path) -> None:
    for path in root.glob(_UNFINISHED + "*"):
        if time.time() - path.stat().st_mtime > _MAX_SECONDS_UNFINISHED:
            shutil.rmtree(path, ignore_errors=True)
    stored = entries(root)
    excess = sum(entry.num_bytes for entry in stored) - MOST_BYTES
    for entry in stored:
        if excess <= 0:
            return
        shutil.rmtree(entry.path, ignore_errors=True)
        excess -= entry.num_bytes
