"""Pages of inspections: each inspection has a module here, which draws what the one of `charnn.analysis` found."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charnn.analysis.inspections import MODULES
from charnn.analysis.tables import Inspection
from charnn.config.insight import Inspected
from charnn.files import write_output

if TYPE_CHECKING:
    from charnn.report.sections import Section


def sections_of(what: Inspected, inspection: Inspection) -> "list[Section]":
    """Return the sections that show the result of an inspection."""
    module = importlib.import_module(f"charnn.report.{MODULES[what]}")
    found: list[Section] = module.sections(inspection)
    return found


def write_inspections(target: Path, inspections: Mapping[Inspected, Inspection], names: Sequence[str]) -> None:
    """Write a page that shows inspections.

    Args:
        target: the file, which is replaced.
        inspections: by name, in the order of the page.
        names: of the models.
    """
    page = importlib.import_module("charnn.report.page")
    sections = [section for what, found in inspections.items() for section in sections_of(what, found)]
    write_output(target, page.render(f"Inside {', '.join(names)}", sections).encode())
