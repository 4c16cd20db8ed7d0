"""`charnn inspect`: what happens inside a network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

import charnn
from charnn.cli.options import COMMON, Overrides, with_options
from charnn.cli.output import console
from charnn.cli.output.records import aligned, fitted
from charnn.cli.targets import check_targets
from charnn.config import InspectOptions
from charnn.config.insight import Inspected, check_used
from charnn.errors import OptionError
from charnn.interrupts import terminated_like_interrupted
from charnn.options import pick
from charnn.report.inspections import write_inspections
from charnn.report.libraries import check_libraries

if TYPE_CHECKING:
    from charnn.analysis.tables import Inspection

MOST_ROWS = 40
"""Rows of a table that the terminal shows; records and pages have more."""


@with_options(InspectOptions)
def inspect(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help=f"{', '.join(get_args(Inspected))}; several separated by commas, or all."),
    ],
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Model directories.", show_default="the newest under runs/"),
    ] = None,
    page: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Also draw a page: one HTML file."), COMMON
    ] = None,
    *,
    overrides: Overrides,
) -> None:
    """Look inside a network: charnn inspect neurons runs/a --html neurons.html.

    gradients: how far back a loss reaches, and how much context the model uses. neurons: units that track something, such as
    quotes. embeddings: nearest neighbors. states: texts as paths of hidden states. memory: what backpropagation through time
    keeps. dropout: masks over time. unrolled: one short text step by step. attention: where it looks. A page needs the extra
    `report`: pip install -e '.[report]'.
    """
    options = pick(InspectOptions, overrides)
    wanted = _wanted(what)
    check_used(options, wanted)
    paths = [charnn.api.find_model(run) for run in runs or []]
    if not paths:
        paths = [charnn.api.find_model(None)]
        console.notice(f"using the newest model, {paths[0]}")
    if page is not None:
        check_targets({"--html": page}, sources=[options.file], models=paths)
        check_libraries("inspect --html")
    found: dict[Inspected, Inspection] = {}
    with terminated_like_interrupted():
        for name in wanted:
            models = charnn.api.applicable(name, paths) if what == "all" else paths
            if not models:
                continue
            found[name] = charnn.api.inspect_models(name, models, options)
            if page is None:
                _show(name, found[name], options.format)
        if page is not None:  # first, since a pager or `head` may end the output early
            write_inspections(Path(page), found, list(map(str, paths)))
            console.notice(f"wrote {page}; open it in a browser")
            for name, inspection in found.items():
                _show(name, inspection, options.format)


def _wanted(what: str) -> list[Inspected]:
    """Return the inspections that are named."""
    known = get_args(Inspected)
    names = list(known) if what == "all" else what.split(",")
    for name in names:
        if name not in known:
            raise OptionError(f"WHAT: found {name!r}, but it must be one of {', '.join(known)}, or all")
    return list(dict.fromkeys(names))  # type: ignore[arg-type]


def _write(*lines: str) -> None:
    for line in lines:
        console.write_line(line)


def _show(what: Inspected, inspection: "Inspection", form: str) -> None:
    for table in inspection.tables():
        if form == "jsonl":
            for record in table.records():
                console.write_json({"inspection": what, **record})
            continue
        rows = [[console.visible_line(charnn.api.in_words(value)) for value in row] for row in table.rows]
        cells = [table.headings(), *rows[:MOST_ROWS]]
        if not console.is_terminal():
            _write(f"{what}: {table.caption}", *aligned(cells))
        else:
            width, of_run = console.terminal_width(), ""
            if cells[0][0] == "run" and len({row[0] for row in rows}) == 1:
                of_run, cells = f" of {rows[0][0]}", [row[1:] for row in cells]
            _write(*console.wrapped(f"{what}{of_run}: {table.caption}", width), *fitted(cells, width))
        if len(rows) > MOST_ROWS:
            console.write_line(f"... {console.counted(len(rows) - MOST_ROWS, 'more row')}; --format jsonl prints all")
        console.write_line("")
