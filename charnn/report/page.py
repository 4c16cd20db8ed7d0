"""Pages: one self-contained HTML file, without a request to anywhere."""

import re
from collections.abc import Sequence
from functools import cache, partial
from importlib.resources import files

from jinja2 import Environment, FunctionLoader
from markupsafe import Markup

import charnn
from charnn.analysis.tables import Table, in_words
from charnn.notebook import SHADES
from charnn.report.sections import Figures, Picture, Section

MAX_ROWS = 200
"""Rows of a table that a page shows."""


SURROGATES = re.compile("[\ud800-\udfff]")
"""Bytes that are no UTF-8, such as a model of bytes may write."""
INSPECT = "; charnn inspect --format jsonl prints all"


def render(
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    scripts: Sequence[str] = (),
    where_all: str = INSPECT,
) -> str:
    """Return a page.

    Args:
        title: its heading.
        sections: in order.
        subtitle: a line under the heading.
        scripts: the files of `page/` whose JavaScript it runs.
        where_all: what follows the number of rows that a long table leaves out.
    """
    page = (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            sections=sections,
            css=Markup(_shades() + _source("page.css")),
            js=Markup("\n".join(map(_source, scripts))),
            footer=f"Made by charnn {charnn.__version__}.",
            is_picture=lambda part: isinstance(part, Picture),
            is_figures=lambda part: isinstance(part, Figures),
            is_table=lambda part: isinstance(part, Table),
            is_markup=lambda part: isinstance(part, Markup),
            table=partial(table_markup, where_all=where_all),
        )
    )
    return SURROGATES.sub("\ufffd", page)


def table_markup(table: Table, *, where_all: str = INSPECT) -> Markup:
    """Return a table as HTML."""
    columns = range(len(table.columns))
    is_number = [all(not isinstance(row[column], str) for row in table.rows) for column in columns]
    template = _environment().get_template("table.html")
    return Markup(template.render(table=table, is_number=is_number, shown=in_words, most=MAX_ROWS, where_all=where_all))


def fragment(name: str, **values: object) -> Markup:
    """Return a part of a page as HTML, in which the values are escaped.

    Args:
        name: the file of `page/`.
    """
    return Markup(_environment().get_template(name).render(values))


def _shades() -> str:
    """Return the colors of tokens by surprisal as variables, in which notebooks show them too."""
    light = "".join(f"--s{number}: {shade.light};" for number, shade in enumerate(SHADES))
    dark = "".join(f"--s{number}: {shade.dark};" for number, shade in enumerate(SHADES))
    classes = "".join(f".s{number} {{ background: var(--s{number}); }}\n" for number in range(len(SHADES)))
    return f":root {{{light}}}\n@media screen and (prefers-color-scheme: dark) {{ :root {{{dark}}} }}\n{classes}"


def _source(name: str) -> str:
    return files("charnn.report").joinpath("page", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(autoescape=True, loader=FunctionLoader(_source), trim_blocks=True, lstrip_blocks=True)
