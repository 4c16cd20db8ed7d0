"""The text of a run that is resumed: a run keeps its text, so one that is named again must be the same."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from charnn.errors import OptionError, first_of
from charnn.storage.run_config import RunConfig
from charnn.text.facts import TextFile
from charnn.text.selection import sha256_of
from charnn.text.sources import Source, display_name, find_sources


def check_same_text(directory: Path, config: RunConfig, texts: Sequence[str], valid: str | None) -> None:
    """Check that the texts named on resuming are those of the run, wherever they are now.

    Args:
        directory: of the run.
        config: of the run.
        texts: as the user named them; none to resume with the text of the run.
        valid: the validation file, if the user named it.

    Raises:
        OptionError: for another text.
        TextError: for a text that cannot be read.
    """
    as_bytes = config.asked.text.tokenizer == "byte"
    for option, named in (("TEXT", texts), ("--valid", [valid] if valid else [])):
        missing = _missing(config.corpus.files, find_sources(named, as_bytes=as_bytes))
        may_miss = not named or option == "--valid" or config.asked.text.valid is not None
        if missing is None or (missing and not may_miss):
            raise OptionError(f"{option}: {_difference(directory, config, [display_name(name) for name in named])}")


def _difference(directory: Path, config: RunConfig, named: Sequence[str]) -> str:
    """Return how the named texts differ from those of a run, and what to do."""
    of_run = [file.name for file in config.corpus.files]
    if set(named) <= set(of_run):
        found, old = "which has changed since or is not all of the text", "its old text"
    else:
        found, old = f"but {directory} was trained on {first_of(of_run)}", first_of(of_run)
    return (
        f"found {first_of(named)}, {found}; omit this argument to resume {directory} with {old}, or train a new run on it: "
        "leave --resume out and name another directory with -o"
    )


def _missing(files: Sequence[TextFile], sources: Sequence[Source]) -> int | None:
    """Return how many files of a run are not among these; None if one of these is not of the run."""
    left = Counter((file.num_bytes, file.sha256) for file in files)
    for source in sources:
        found = next((key for key in _facts(files, source) if left[key]), None)
        if found is None:
            return None
        left[found] -= 1
    return left.total()


def _facts(files: Sequence[TextFile], source: Source) -> set[tuple[int, str]]:
    """Return size and digest of what a run may have read of a file: all, or the beginnings that were enough for its budget."""
    if source.stamp is None:
        return {sha256_of(source)}
    size = source.stamp.num_bytes
    beginnings = {file.num_bytes for file in files if size == (file.of_bytes or file.num_bytes)}
    return {sha256_of(replace(source, num_bytes=num_bytes)) for num_bytes in beginnings}
