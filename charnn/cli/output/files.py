"""The files of a model and of the cache, for `charnn info --files`."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import charnn
from charnn.cli.output import console

if TYPE_CHECKING:
    from charnn.text.cache import Entry


def show_files(paths: Sequence[Path], *, json: bool) -> None:
    """Write the files of models and the entries of the cache."""
    root = charnn.api.cache_directory()
    kept = charnn.api.entries(root)
    if json:
        cache = None if root is None else {"directory": str(root), "entries": [_entry(entry) for entry in kept]}
        runs = [{"run": str(path), "files": [asdict(file) for file in charnn.api.stored_files(path)]} for path in paths]
        console.write_json({"runs": runs, "cache": cache})
        return
    for path in paths:
        files = charnn.api.stored_files(path)
        rows = [(file.name, file.num_bytes, file.purpose) for file in files]
        _table(str(path), [*rows, ("total", sum(file.num_bytes for file in files), "")])
    if root is None:
        console.write_line("no cache: CHARNN_CACHE_DIR is empty")
        return
    size = sum(entry.num_bytes for entry in kept)
    console.write_line(
        f"cache {root}: {size:,} of {charnn.api.MOST_BYTES:,} bytes at most, {len(kept)} entries; it may be deleted at any time"
    )
    if kept:
        recent = [(entry.path.name[:12], entry.num_bytes, f"{entry.what}; {_ago(entry.used)}") for entry in kept[::-1]]
        _table("cache entries, most recently used first", recent)


def _entry(entry: "Entry") -> dict[str, object]:
    return {"name": entry.path.name, "what": entry.what, "num_bytes": entry.num_bytes, "used": entry.used}


def _ago(used: float) -> str:
    hours = (time.time() - used) / 3600
    return f"used {hours / 24:.0f} days ago" if hours >= 48 else f"used {hours:.1f} hours ago"


def _table(title: str, rows: Sequence[tuple[str, int, str]]) -> None:
    table = console.new_table()
    table.add_column("file", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("purpose", overflow="fold")
    for name, num_bytes, what in rows:
        table.add_row(name, f"{num_bytes:,}", what)
    console.show(table, caption=title)
