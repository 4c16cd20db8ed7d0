"""The directory of a model that is to be trained."""

from pathlib import Path

from charnn.errors import ModelError, first_of
from charnn.files import portable_name
from charnn.storage.model_directory import DEFAULT_ROOT, is_model, read_config
from charnn.storage.run_files import other_files
from charnn.text.sources import PACKED_SUFFIXES


def default_directory(text: str) -> Path:
    """Return the default model directory of a text: `runs/` and the name of the file."""
    path = Path("stdin" if text == "-" else text.rstrip("/"))
    name = path.stem if path.suffix in PACKED_SUFFIXES else path.name
    return DEFAULT_ROOT / (portable_name(Path(name).stem.replace("*", "all")) or "text")


def check_available(directory: Path, *, overwrite: bool) -> None:
    """Check that a new model can be stored in a directory.

    Args:
        overwrite: whether a model that it contains may be replaced.

    Raises:
        ModelError: if it contains a model otherwise, or any file that does not belong to one.
    """
    if not directory.exists():
        return
    if overwrite and is_model(directory):
        if others := other_files(directory):
            raise ModelError(
                f"{directory}: --overwrite would delete {first_of(others)}, which is not part of the model; "
                "move it elsewhere, or name another directory with -o"
            )
        return
    if is_model(directory):
        is_finished = read_config(directory).results.is_finished
        state = "a finished" if is_finished else "an unfinished"
        resume = "train it further with --resume and a larger budget" if is_finished else "finish it with --resume"
        raise ModelError(
            f"{directory}: holds {state} model; replace it with --overwrite, {resume}, or name another directory with -o"
        )
    if directory.is_file() or any(directory.iterdir()):
        raise ModelError(f"{directory}: exists and is not a charnn model; name another directory with -o")
