"""Pages of neurons, states, unrolled networks and embeddings: what they show is escaped, and equals the arrays."""

import re

import numpy as np
import pytest

import charnn as library
from charnn.analysis.activations import Unit
from charnn.analysis.neurons import Neurons, TrackedFeature
from charnn.report import embeddings, neurons, states, unrolled
from charnn.report.charts import chart
from charnn.report.labels import CHARACTER_WIDTH, FONT_SIZE, LINE_HEIGHT, place_labels
from charnn.report.page import render
from charnn.report.sections import Picture

TAG = "<img onerror=1>"


def tracked(run="a", feature="inside quotes", part="memory", values=(-1.0, 0.0, 0.5)):
    return TrackedFeature(
        run,
        feature,
        True,
        0.25,
        Unit(1, part, 3),
        -0.8,
        0.1,
        0.95,
        0.5,
        np.zeros(4),
        10,
        ["a␣", "⏎", TAG],
        np.array(values, dtype=np.float32),
        np.array([0, 1, 1], dtype=np.float32),
    )


def pictures_of(sections):
    return [part for section in sections for part in section.parts if isinstance(part, Picture)]


def checked_page(sections):
    """Return a page, on which no id stands twice, nothing is fetched and no text is markup."""
    page = render("Inside", sections)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert TAG not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert len(page) < 2_000_000
    return page


def test_a_passage_has_the_color_of_each_value_and_the_value_itself():
    picture = neurons.passage(tracked())
    spans = re.findall(r'<span class="(\w+)" title="([^"]+)">([^<]*)</span>', picture.svg)
    assert spans == [("un5", "-1.00", "a "), ("u0", "0.00", "⏎\n"), ("up2", "0.50", "&lt;img onerror=1&gt;")]
    assert picture.table.rows == [(11, "a␣", -1.0, 0.0), (12, "⏎", 0.0, 1.0), (13, TAG, 0.5, 1.0)]
    assert "r = -0.80" in picture.caption
    assert "25.0% of the tokens" in picture.caption


def test_the_color_of_a_gate_is_its_distance_from_one_half():
    assert neurons.scale_of(tracked(part="forget gate", values=(0.5, 0.9, 0.4))) == pytest.approx((0.5, 0.4))
    assert neurons.scale_of(tracked(values=(0, 0, 0)))[1] > 0


def test_a_page_of_neurons_compares_models_and_names_what_is_left_out():
    found = Neurons([tracked(), tracked("b"), tracked("b", feature=f"/{TAG}/")], {}, [("a", "digit", "does not occur")])
    page = checked_page(neurons.sections(found))
    assert "does not occur" in page
    assert "/&lt;img onerror=1&gt;/" in page
    overview = pictures_of(neurons.sections(found))[0]
    assert [row[5] for row in overview.table.rows] == [-0.8] * 3


def test_a_page_of_states_shows_the_arrays(run):
    texts = ("The <b>$cat$, was", "The <b>$cats$, was")
    found = library.inspect("states", run, text=texts)
    sections = states.sections(found)
    page = checked_page(sections)
    assert "<b>" not in page
    assert page.count("data:image/png") == 4  # two heat maps, each with the scale of its colors
    distances, first, _, paths = pictures_of(sections)
    assert distances.table.rows == found.tables()[0].rows
    unit = int(first.table.columns[1].removeprefix("unit_"))
    assert [row[1] for row in first.table.rows] == found.texts[0].states[:, unit].tolist()
    assert [row[3] for row in paths.table.rows] == [x for text in found.texts for x in text.points[:, 0].tolist()]


@pytest.mark.parametrize("texts", [(), ("a",), ("a b", "a b"), ("a", "bc")], ids=["none", "one", "equal", "unlike"])
def test_states_are_drawn_for_any_texts(run, texts):
    checked_page(states.sections(library.inspect("states", run, text=texts)))


def test_a_page_of_an_unrolled_network_writes_the_printed_numbers(run):
    found = library.inspect("unrolled", run, text=("A $x$<i>",))
    sections = unrolled.sections(found)
    page = checked_page(sections)
    assert "<i>" not in page
    (text,) = found.texts
    for step in text.steps:
        assert f"{step.log_prob_nats:.4f}" in page
        for _, probability in step.likely:
            assert f"{probability:.3f}" in page
    (picture,) = pictures_of(sections)
    assert [row[4] for row in picture.table.rows] == [step.log_prob_nats for step in text.steps]


def test_a_page_of_embeddings_has_the_coordinates(run):
    found = library.inspect("embeddings", run)
    sections = embeddings.sections(found)
    checked_page(sections)
    for picture, vectors in zip(pictures_of(sections), found.vectors, strict=True):
        assert [row[1:] for row in picture.table.rows] == [tuple(point) for point in vectors.points.tolist()]


def test_labels_do_not_cover_each_other():
    points = np.random.default_rng(1).normal(size=(150, 2))
    labels = [("w" * (1 + number % 6), *point) for number, point in enumerate(points.tolist())]
    with chart("labels") as drawn:
        drawn.ax.scatter(*points.T)
        num_left_out = place_labels(drawn, labels)
        written = list(drawn.ax.texts)
        boxes = []
        for text in written:
            x, y = drawn.ax.transData.transform(text.xy) * 72 / drawn.figure.dpi + np.array(text.xyann)
            width = len(text.get_text()) * CHARACTER_WIDTH * FONT_SIZE
            left = x - {"left": 0, "center": width / 2, "right": width}[text.get_ha()]
            boxes.append((left, y - FONT_SIZE * LINE_HEIGHT / 2, left + width, y + FONT_SIZE * LINE_HEIGHT / 2))
    assert len(written) + num_left_out == 150
    assert 30 < len(written) < 150
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            assert (
                one[2] <= other[0] + 1e-6
                or other[2] <= one[0] + 1e-6
                or one[3] <= other[1] + 1e-6
                or other[3] <= one[1] + 1e-6
            )


def test_a_label_is_written_once_for_points_that_coincide():
    with chart("labels") as drawn:
        drawn.ax.scatter([0, 1], [0, 1])
        assert place_labels(drawn, [("a", 0.5, 0.5), ("a", 0.5, 0.5), ("b", 0.5, 0.5)]) == 0
        assert [text.get_text() for text in drawn.ax.texts] == ["a", "b"]
        assert place_labels(drawn, []) == 0


def test_written_numbers_are_not_rounded():
    with chart("numbers") as drawn:
        drawn.ax.set_title("-2.2615")
    assert "-2.2615" in drawn.svg
    assert not re.search(r'd="[^"]*\d\.\d{3}', drawn.svg)
