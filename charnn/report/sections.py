"""What a page consists of: sections of text, pictures, tables and HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from charnn.analysis.tables import Table


@dataclass(frozen=True)
class Picture:
    """A picture with the figures behind it, for screen readers and for those who want to know.

    Args:
        svg: an SVG element (see `charnn.report.charts`).
        caption: what it shows and how to read it, in one or two sentences.
        table: the same data; a page shows it on demand.
    """

    svg: Markup
    caption: str
    table: Table


@dataclass(frozen=True)
class Figures:
    """Pictures that stand side by side where a page is wide enough."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Args:
        title: its heading.
        parts: text (escaped, a paragraph each), pictures, tables, and HTML (Markup).
    """

    title: str
    parts: Sequence[str | Markup | Picture | Figures | Table]
