"""Tests of the page of the memory of training."""

import re

import numpy as np

from charnn.analysis.training_memory import SavedBytes, TrainingMemory
from charnn.report.page import render
from charnn.report.sections import Picture
from charnn.report.training_memory import sections

LENGTHS, ROWS = (16, 64), (1, 4)


def saved(run):
    found = np.array([[2048.0 * length * rows + 1024 * rows for rows in ROWS] for length in LENGTHS])
    found[1, 1] = np.nan
    return SavedBytes(run, "gru", LENGTHS, ROWS, found, {"layer 1": 2048.0}, 128, 8, 1_000_000, 1 << 20)


def test_the_page_says_the_formula_and_what_truncation_saves():
    html = render("Inside", sections(TrainingMemory([saved("runs/<b>a</b>")])))
    assert "<b>" not in html
    assert "memory = 2 KiB × T × B + 1 KiB × B + " in html
    assert "Truncation after 128 tokens divides the memory by 973:" in html  # 2048e6 + 1024 and 2048 * 1024 + 8192
    assert "The measurements agree with it." in html
    assert "The weights, 1 MiB, are not counted." in html
    found = re.findall(r'\sid="([^"]+)"', html)
    assert len(found) == len(set(found))


def test_the_tables_behind_the_pictures_are_the_measurements():
    pictures = [part for part in sections(TrainingMemory([saved("runs/a")]))[0].parts if isinstance(part, Picture)]
    measured, truncation = (picture.table.rows for picture in pictures)
    assert [row[1:4] for row in measured] == [
        (16, 1, 2048 * 16 + 1024),
        (16, 4, 2048 * 64 + 4096),
        (64, 1, 2048 * 64 + 1024),
        (64, 4, None),
    ]
    assert truncation[0][0] == "one step of the run: 8 rows of 128 tokens"
    assert abs(truncation[0][1] - (2048 * 1024 + 8192)) <= 1
    assert abs(truncation[1][1] - (2048 * 1_000_000 + 1024)) <= 1


def test_the_page_says_how_well_the_formula_fits():
    run = saved("runs/a")
    run.num_bytes[1, 1] = 1.2 * 2048 * 64 * 4
    assert f"The measurements are within {run.largest_error:.1%} of it." in render(
        "Inside", sections(TrainingMemory([run]))
    )
    assert 0.01 < run.largest_error < 0.1
