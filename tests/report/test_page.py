"""Tests of pages: one file, escaped, with the figures behind each picture."""

import re

from markupsafe import Markup

from charnn.analysis.tables import Table
from charnn.report.charts import chart, standalone
from charnn.report.page import MAX_ROWS, render
from charnn.report.sections import Picture, Section

HOSTILE = "</script><img src=x onerror=alert(1)>"


def drawn(label=HOSTILE):
    with chart(label) as made:
        made.ax.plot([0, 1, 2], [0, 1, 4], label=HOSTILE)
        made.ax.set_xlabel("$x$")
        made.ax.legend()
    return made.svg


def test_text_is_escaped_everywhere():
    table = Table("t", HOSTILE, ("token", "count"), [(HOSTILE, 3)])
    section = Section(HOSTILE, [HOSTILE, table, Picture(drawn(), HOSTILE, table), Markup("<em>meant</em>")])
    page = render(HOSTILE, [section], subtitle=HOSTILE)
    assert "<img" not in page
    assert "<script" not in page
    assert "<em>meant</em>" in page
    assert page.count("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;") >= 8


def test_a_chart_has_the_inks_of_the_page_and_no_needless_ids():
    svg = drawn("squares")
    assert svg.startswith('<svg class="chart" role="img" aria-label="squares" ')
    assert "var(--ink)" in svg
    assert "#0102" not in svg
    assert "<style" not in svg
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    assert set(re.findall(r'id="([^"]*)"', svg)) == used
    assert drawn("squares") == svg


def test_a_chart_alone_is_light_and_complete():
    file = standalone(drawn("squares"))
    assert "var(" not in file
    assert file.startswith("<svg ")
    assert 'xmlns="http://www.w3.org/2000/svg"' in file


def test_a_long_table_is_cut_and_says_so():
    table = Table("t", "numbers", ("number", "half"), [(index, index / 2) for index in range(MAX_ROWS + 7)])
    page = render("Numbers", [Section("All", [table])])
    assert page.count("<tr>") == MAX_ROWS + 1
    assert "7 more rows" in page
    assert '<td class="number">1.5</td>' in page
