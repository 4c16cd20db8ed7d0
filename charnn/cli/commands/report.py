"""`charnn report`: a page on models."""

from pathlib import Path
from typing import Annotated

import typer

import charnn
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.targets import check_targets
from charnn.config import ReportOptions
from charnn.errors import OptionError
from charnn.interrupts import terminated_like_interrupted
from charnn.options import pick
from charnn.report.libraries import check_libraries
from charnn.report.writing import default_target, write_overview


@with_options(ReportOptions)
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Model directories.", show_default="the newest under runs/"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The HTML file.", show_default="the model's name with -report.html"
        ),
        COMMON,
    ] = None,
    *,
    overrides: Overrides,
) -> None:
    """Write a report on models, one HTML file: charnn report runs/a.

    Curves of training, samples through time, a passage token by token, where the loss is, what is copied; of several models,
    where they differ. It needs the extra `report`: pip install -e '.[report]'.
    """
    options = pick(ReportOptions, overrides)
    check_libraries("report")
    paths = [charnn.api.find_model(run) for run in runs or []]
    if not paths:
        paths = [charnn.api.find_model(None)]
        console.notice(f"using the newest model, {paths[0]}")
    if output is not None and output in ("", "-"):
        raise OptionError(f"--output: found {output!r}, but a report is written to a file; name one")
    target = default_target(paths[0]) if output is None else Path(output)
    check_targets({"--output": str(target)}, sources=[options.file], models=paths)
    with terminated_like_interrupted():
        write_overview(target, paths, options)
    console.notice(f"wrote {target}; open it in a browser")
