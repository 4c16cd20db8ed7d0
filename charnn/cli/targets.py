"""Checks of the files that a command writes, so that it destroys none that is needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import charnn
from charnn.cli.output.lines import STDOUT
from charnn.errors import OptionError


def check_targets(
    targets: Mapping[str, str | None], *, sources: Sequence[str | None] = (), models: Sequence[Path] = ()
) -> None:
    """Check output files before any work is done for them.

    Args:
        targets: the output files, by option; None if an option is not given.
        sources: the names of the files that the command reads.
        models: the directories of the models that it reads.

    Raises:
        OptionError: for an output file that is a source, belongs to a model or is also another option's.
        StorageError: for one that cannot be written.
    """
    read = {Path(source).resolve() for source in sources if source not in (None, "", "-")}
    read_directories = {model.resolve() for model in models}
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
        if resolved in read or read_directories & set(resolved.parents):
            raise OptionError(f"{option}: found {file}, which the command reads from; name another file")
        if charnn.api.is_model_file(resolved):
            raise OptionError(f"{option}: found {file}, which belongs to a model; name another file")
        if resolved in taken:
            raise OptionError(f"{option}: found {file}, which {taken[resolved]} writes to as well; name two files")
        taken[resolved] = option
