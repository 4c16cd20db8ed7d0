"""Tests of the page of dropout masks."""

import re
from typing import get_args

from charnn.analysis.dropout_masks import DropoutMasks, RunMasks, draw_masks
from charnn.config.regularization import DropoutKind
from charnn.report.dropout_masks import sections
from charnn.report.page import render
from charnn.report.sections import Picture


def masks(run, kind, rate=0.5):
    return RunMasks(
        run, kind, rate, [mask for each in get_args(DropoutKind) for mask in draw_masks(each, rate, seed=1)]
    )


def test_the_page_names_the_kind_of_the_run_and_the_fractions():
    found = masks("runs/<b>a</b>", "locked")
    html = render("Inside", sections(DropoutMasks([found, masks("runs/b", None)])))
    assert "<b>" not in html
    assert html.count("locked (this run)") == 1
    assert "at the rate of runs/&lt;b&gt;a&lt;/b&gt;, 0.5" in html
    assert "at a rate of 0.5 (runs/b has no dropout)" in html
    assert f"{found.masks[0].kept_fraction:.0%} kept" in html
    assert html.count("no mask") >= 4  # naive and locked have none on recurrent connections
    for source in ("Zaremba et al. 2014", "Merity et al. 2018", "Gal and Ghahramani 2016"):
        assert re.search(source.replace(" ", r"\s"), html)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)


def test_the_table_behind_the_picture_is_that_of_the_masks():
    found = DropoutMasks([masks("runs/a", "naive", 0.25)])
    (picture,) = [part for part in sections(found)[0].parts if isinstance(part, Picture)]
    assert picture.table == found.tables()[0]
    assert [row[4] for row in picture.table.rows] == [mask.kept_fraction for mask in found.runs[0].masks]
