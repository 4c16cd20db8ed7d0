"""`charnn export`: a model in other people's formats."""

import os
from pathlib import Path
from typing import Annotated

import typer

import charnn
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.targets import check_targets
from charnn.config import ExportOptions
from charnn.errors import OptionError
from charnn.export.exporter import default_target, export_model, refuse_existing
from charnn.interrupts import terminated_like_interrupted
from charnn.options import pick


@with_options(ExportOptions)
def export(
    run: Annotated[
        str | None,
        typer.Argument(help="The model's directory.", metavar="RUN", show_default="the newest under runs/"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="Directory (hf, onnx) or file (html) to write.",
            show_default="the model's name with -hf, -onnx or .html",
        ),
        COMMON,
    ] = None,
    *,
    overrides: Overrides,
) -> None:
    """Export a model for browsers, Hugging Face transformers or ONNX: charnn export runs/a --to html."""
    options = pick(ExportOptions, overrides)
    path = charnn.api.find_model(run)
    if run is None:
        console.notice(f"using the newest model, {path}")
    if output == "":
        raise OptionError("--output: is empty; name a file or directory")
    if output == "-":
        raise OptionError(
            "--output: found -, but an export is not written to standard output; name a file or directory"
        )
    if output is not None and options.to == "html" and output.endswith(("/", os.sep)):
        raise OptionError(
            f"--output: found {output}, a directory, but html is one file; name it, such as "
            f"{output}{default_target(path, options)}"
        )
    target = default_target(path, options) if output is None else Path(output)
    refuse_existing(target)
    check_targets({"--output": str(target)}, models=[path] if charnn.api.is_model(path) else [])
    with terminated_like_interrupted():
        written = export_model(path, options, target)
    console.notice(f"wrote {written}" + ("; open it in a browser" if options.to == "html" else ""))
