"""Checks of the files that a command writes, so that it destroys none that is needed."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import charnn
from charnn.cli.output.lines import STDOUT
from charnn.errors import OptionError

STDIN_DESCRIPTOR = 0


class _Read(NamedTuple):
    """What a command reads.

    Args:
        files: texts, with those that a glob matches and the one that standard input comes from.
        directories: those whose texts it reads.
        models: the directories of models.
    """

    files: tuple[os.stat_result, ...]
    directories: frozenset[Path]
    models: frozenset[Path]


def check_targets(
    targets: Mapping[str, str | None], *, sources: Sequence[str | None] = (), models: Sequence[Path] = ()
) -> None:
    """Check output files before any work is done for them.

    Args:
        targets: the output files, by option; None if an option is not given.
        sources: the names of the files, directories and globs that the command reads.
        models: the directories of the models that it reads.

    Raises:
        OptionError: for an output file that is a source, belongs to a model or is also another option's.
        StorageError: for one that cannot be written.
    """
    names = [source for source in sources if source]
    paths = {Path(name) for name in names if name != "-"}
    read = _Read(
        files=tuple(filter(None, map(_status, charnn.api.named_files(names)))) + _standard_input("-" in names),
        directories=frozenset(path.resolve() for path in paths if path.is_dir()),
        models=frozenset(model.resolve() for model in models),
    )
    taken: dict[Path, str] = {}
    for option, file in targets.items():
        if file is None or file in STDOUT:
            continue
        path = Path(file)
        charnn.api.refuse_unwritable(path)
        if path.suffix in charnn.api.PACKED_SUFFIXES:
            raise OptionError(
                f"{option}: found {file}, but the output is not compressed; name it without {path.suffix}"
            )
        if path.exists() and not path.is_file():  # a device or a pipe
            continue
        resolved = path.resolve()
        _refuse_needed(option, file, resolved, read)
        if resolved in taken:
            raise OptionError(f"{option}: found {file}, which {taken[resolved]} writes to as well; name two files")
        taken[resolved] = option


def _refuse_needed(option: str, file: str, resolved: Path, read: _Read) -> None:
    """Refuse a file that the command reads, or that belongs to a model. Raises OptionError."""
    if charnn.api.is_model_file(resolved):
        raise OptionError(f"{option}: found {file}, which belongs to a model; name another file")
    status, parents = _status(str(resolved)), set(resolved.parents)
    is_source = status is not None and any(os.path.samestat(status, other) for other in read.files)
    if is_source or (status is not None and read.directories & parents):
        raise OptionError(f"{option}: found {file}, which the command reads from; name another file")
    if read.models & parents:
        raise OptionError(f"{option}: found {file} in the directory of a model; name a file in another directory")


def _standard_input(is_read: bool) -> tuple[os.stat_result, ...]:
    """Return what identifies the file that standard input is redirected from, if it is read and is one."""
    try:
        status = os.fstat(STDIN_DESCRIPTOR)
    except OSError:
        return ()
    return (status,) if is_read and stat.S_ISREG(status.st_mode) else ()


def _status(name: str) -> os.stat_result | None:
    """Return what identifies a file, by whatever name or link; None if there is none."""
    try:
        return Path(name).stat()
    except OSError:
        return None
