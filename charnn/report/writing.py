"""Writing a report: `charnn.write_report`."""

import importlib
from pathlib import Path
from typing import Unpack

import charnn
from charnn.analysis.overview import read_overview
from charnn.config import ReportOptions
from charnn.config.arguments import ReportArguments
from charnn.errors import OptionError, speaking_of_arguments
from charnn.files import write_output
from charnn.options import checked_files, pick, shown
from charnn.report.libraries import check_libraries


def default_target(path: Path) -> Path:
    """Return the file of a report on a model: its name in the current directory, as exports have it."""
    return Path(f"{path.resolve().name}-report.html")


@speaking_of_arguments
def write_report(
    *models: "str | Path | charnn.LanguageModel", output: str | Path | None = None, **options: Unpack[ReportArguments]
) -> Path:
    """Write a report on models, as `charnn report` does: one self-contained HTML file.

    Args:
        models: model directories, or loaded models; by default, the newest under `runs/`.
        output: the file, which is replaced; by default, NAME-report.html in the current directory.
        options: those of `charnn report`, such as `file="new.txt"`.

    Returns:
        The file.

    Raises:
        CharnnError: if there is no model, or a library of the extra `report` is missing.

    Example:
        >>> charnn.write_report("runs/book", output="book.html")
        PosixPath('book.html')
    """
    chosen = pick(ReportOptions, dict(options))
    check_libraries("write_report")
    paths = [_directory(model) for model in models] or [charnn.api.find_model(None)]
    (named,) = checked_files(output, "output") if output is not None else [None]
    if named == "":
        raise OptionError(f"output: found {shown(named)}, but it must be the name of a file")
    target = default_target(paths[0]) if named is None else Path(named)
    charnn.api.refuse_unwritable(target)
    if charnn.api.is_model_file(target.resolve()):
        raise OptionError(f"output: found {target}, which belongs to a model; name another file")
    write_overview(target, paths, chosen)
    return target


def _directory(model: "str | Path | charnn.LanguageModel") -> Path:
    if isinstance(model, charnn.LanguageModel):
        return model.path
    return charnn.api.find_model(checked_files(model, "models")[0])


def write_overview(target: Path, paths: list[Path], options: ReportOptions) -> None:
    """Read models and write their report.

    Args:
        target: the file, which is replaced.
        paths: model directories.
    """
    page = importlib.import_module("charnn.report.overview").overview_page(read_overview(paths, options))
    write_output(target, page.encode())
