"""Labels of points that do not cover each other."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from charnn.report.charts import Chart

FONT_SIZE = 7
CHARACTER_WIDTH, LINE_HEIGHT = 0.66, 1.1
"""The size of a label for each character, in font sizes; a wide font needs no more."""
NEAR = 4
"""Points of 1/72 inch; a label is written once for points that are nearer."""
OFFSETS: Sequence[tuple[int, int, Literal["left", "center", "right"]]] = (
    (3, 0, "left"),
    (-3, 0, "right"),
    (0, 5, "center"),
    (0, -6, "center"),
    (4, 6, "left"),
    (-4, 6, "right"),
    (4, -7, "left"),
    (-4, -7, "right"),
)
"""Where a label may stand beside its point, in points of 1/72 inch: its middle line, and the side that is fixed."""


def place_labels(drawn: Chart, labels: Sequence[tuple[str, float, float]]) -> int:
    """Write labels beside points, the first ones first; leave out those that find no room.

    Args:
        labels: text, x and y of each.

    Returns:
        How many labels were left out.
    """
    if not labels:
        return 0
    drawn.figure.draw_without_rendering()  # so that the layout is final
    scale = 72 / drawn.figure.dpi
    points = drawn.ax.transData.transform(np.array([label[1:] for label in labels])) * scale
    left, bottom, right, top = np.array(drawn.ax.bbox.extents) * scale
    taken = np.zeros((0, 4))
    num_left_out = 0
    written: set[tuple[str, int, int]] = set()
    for (text, x, y), (across, up) in zip(labels, points.tolist(), strict=True):
        place = (text, round(across / NEAR), round(up / NEAR))
        if place in written:
            continue
        width = max(len(text), 1) * CHARACTER_WIDTH * FONT_SIZE
        for shift, rise, side in OFFSETS:
            start = across + shift - {"left": 0.0, "center": width / 2, "right": width}[side]
            base = up + rise - LINE_HEIGHT * FONT_SIZE / 2
            box = np.array([start, base, start + width, base + LINE_HEIGHT * FONT_SIZE])
            is_inside = box[0] >= left and box[1] >= bottom and box[2] <= right + 6 and box[3] <= top + 6
            if is_inside and not _covers(box, taken):
                break
        else:
            num_left_out += 1
            continue
        written.add(place)
        taken = np.concatenate((taken, box[None]))
        drawn.ax.annotate(
            text,
            (x, y),
            fontsize=FONT_SIZE,
            textcoords="offset points",
            xytext=(shift, rise),
            ha=side,
            va="center",
            parse_math=False,
        )
    return num_left_out


def _covers(box: "np.typing.NDArray[np.float64]", taken: "np.typing.NDArray[np.float64]") -> bool:
    """Return whether a box (left, bottom, right, top) meets one of others (N, 4)."""
    apart = (box[2] <= taken[:, 0]) | (box[0] >= taken[:, 2]) | (box[3] <= taken[:, 1]) | (box[1] >= taken[:, 3])
    return bool((~apart).any())
