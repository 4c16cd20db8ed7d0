"""Writing an export: its place, and the module of its format."""

import importlib
import shlex
from pathlib import Path

import charnn.api
from charnn.config import ExportOptions
from charnn.config.export import ExportFormat
from charnn.errors import CharnnError, ModelError, StorageError
from charnn.files import explain_write_errors, portable_name
from charnn.notices import notice_logger

logger = notice_logger(__name__)

SUFFIXES: dict[ExportFormat, str] = {"hf": "-hf", "onnx": "-onnx", "html": ".html"}
"""What the name of an export ends with by default, after that of the model's directory.

The module of each format has a function `write(model, target)`, which writes a directory or a file that does not exist, as a
whole or not at all; that of html takes the option `--weights` also.
"""


def default_target(path: Path, options: ExportOptions) -> Path:
    """Return the default name of the export of a model's directory, in the current directory."""
    return Path(f"{portable_name(path.resolve().name)}{SUFFIXES[options.to]}")


def refuse_existing(target: Path) -> None:
    """Check that nothing is in the place of an export. Raises StorageError."""
    with explain_write_errors(target):
        if target.exists():
            raise StorageError(f"{target}: exists, and an export replaces nothing; name another with -o")


def export_model(path: Path, options: ExportOptions, target: Path | None = None) -> Path:
    """Export a model.

    Args:
        path: the model's directory.
        target: the directory or file to write, which must not exist; by default, see `default_target`.

    Returns:
        The directory or file that was written.

    Raises:
        CharnnError: if the target exists, a library is not installed, or the format cannot represent the model.
    """
    target = default_target(path, options) if target is None else target
    refuse_existing(target)
    model = charnn.api.without_labels(charnn.api.with_label(charnn.api.read_model(path), options.label))
    charnn.api.report_untrained([model])
    if charnn.api.is_of_numbers(model.tokenizer) and options.to != "onnx":
        raise ModelError(
            f"{path}: is a model of numbers, which --to {options.to} cannot read, as it is for text; use --to onnx, whose "
            "model.json has the edges of the bins"
        )
    _note_forward_half(path, options)
    try:
        module = importlib.import_module(f"charnn.export.{options.to}")
    except ModuleNotFoundError as error:
        raise CharnnError(
            f"export --to {options.to}: {error.name} is not installed; in the clone, run pip install -e '.[export]'"
        ) from None
    if options.to == "html":
        module.write(model, target, weights=options.weights or "int8")
    else:
        module.write(model, target)
    return target


def _note_forward_half(path: Path, options: ExportOptions) -> None:
    """Log that of a bidirectional model only one direction is exported."""
    backward = path / charnn.api.BACKWARD
    if charnn.api.is_model(backward):
        other = (
            f"; export the other with: charnn export {shlex.quote(str(backward))} --to onnx"
            if options.to == "onnx"
            else ""
        )
        logger.info(f"{path}: is a bidirectional model, of which the forward half is exported{other}")
