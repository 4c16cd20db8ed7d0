"""The picture of a network unrolled in time, with its own numbers."""

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from matplotlib.layout_engine import ConstrainedLayoutEngine

from charnn.analysis.tables import Table
from charnn.analysis.unrolled import Unrolled, UnrolledText, parts_of
from charnn.report.charts import INK, QUIET, SERIES, chart
from charnn.report.sections import Picture, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN = 1.25
"""Width of a step in inches."""
STRIP_ROWS = 4
"""Rows in which the units of a strip are folded."""


def sections(inspection: Unrolled) -> list[Section]:
    """Return a picture for each text of each model, and the table of their steps."""
    steps, values = inspection.tables()
    return [
        Section(f"Unrolled: {each.run} reads “{each.text}”", [_picture(each, number, steps)])
        for number, each in enumerate(inspection.texts, start=1)
    ] + [Section("Unrolled: the values at each step", [values])]


def _picture(text: UnrolledText, number: int, steps: Table) -> Picture:
    rows = _rows(text)
    heights = [1.5, *(0.42 for _ in rows), 0.55]
    num_steps = len(text.steps)
    with chart(
        f"{text.run} unrolled over {num_steps} steps, text {number}",
        width=1.1 + COLUMN * num_steps,
        height=sum(heights) + 0.18 * len(heights) + 0.3,
        rows=len(heights),
        columns=num_steps,
        height_ratios=heights,
    ) as drawn:
        grid = [drawn.axes[row * num_steps :][:num_steps] for row in range(len(heights))]
        layout = drawn.figure.get_layout_engine()
        assert isinstance(layout, ConstrainedLayoutEngine)
        layout.set(h_pad=0.02, w_pad=0.03, hspace=0.02, wspace=0.02)
        for position, step in enumerate(text.steps):
            _distribution(grid[0][position], text, position)
            for row, (_, part, limits) in enumerate(rows, start=1):
                _strip(grid[row][position], part[position], limits)
            _input(grid[-1][position], step.token, step.id)
        for row, (name, _, _) in enumerate(rows, start=1):
            _name(grid[row][0], name)
        _name(grid[0][0], "next token")
        _name(grid[-1][0], "token read")
        _arrows(text, grid)
    own = [row[2:] for row in steps.rows if row[1] == number]
    wide = Markup('<div class="wide" tabindex="0" role="group" aria-label="Picture of the unrolled network">{}</div>')
    has_gates = any(trace.gates for trace in text.layers)
    return Picture(
        wide.format(drawn.svg),
        "A column is a step in time; read it from bottom to top. The token that is read has an id, the index of the 1 in its "
        "one-hot vector"
        + (", which selects its embedding vector" if text.vectors is not None else "")
        + (
            "; gates lie between 0 (dark) and 1 (bright); memory and output are orange below 0 and purple above"
            if has_gates
            else "; states are orange below 0 and purple above"
        )
        + ", and pass on to the next step (arrows). On top are the five most probable next tokens; the one that "
        "follows in the text is in the second color, with its log probability in nats, as charnn score --per-token has it.",
        Table(steps.name, steps.caption, steps.columns[2:], own),
    )


Strip = tuple[str, "np.typing.NDArray[np.float32]", tuple[str, float, float]]


def _rows(text: UnrolledText) -> list[Strip]:
    """Return name, values (T, N), and color map with its limits of each row of strips, from top to bottom."""
    rows: list[Strip] = []
    for number, trace in reversed(list(enumerate(text.layers, start=1))):
        suffix = f" {number}" if len(text.layers) > 1 else ""
        for name, values in reversed(parts_of(trace)):
            is_gate = name not in ("memory", "output")
            limit = float(np.abs(values).max()) or 1.0
            rows.append((name + suffix, values, ("cividis", 0.0, 1.0) if is_gate else ("PuOr", -limit, limit)))
    if text.vectors is not None:
        limit = float(np.abs(text.vectors).max()) or 1.0
        rows.append(("embedding", text.vectors, ("PuOr", -limit, limit)))
    return rows


def _bare(ax: "Axes") -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _name(ax: "Axes", name: str) -> None:
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)


def _strip(ax: "Axes", values: "np.typing.NDArray[np.float32]", colors: tuple[str, float, float]) -> None:
    """Draw a vector as a strip of color, folded into a few rows, unit after unit from left to right."""
    _bare(ax)
    cmap, low, high = colors
    columns = -(-len(values) // STRIP_ROWS)
    folded = np.full(STRIP_ROWS * columns, np.nan, dtype=np.float32)
    folded[: len(values)] = values
    ax.imshow(
        folded.reshape(STRIP_ROWS, columns), aspect="auto", cmap=cmap, vmin=low, vmax=high, interpolation="nearest"
    )


def _input(ax: "Axes", token: str, id: int) -> None:
    _bare(ax)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.text(0.5, 0.68, token, ha="center", va="center", fontsize=12, weight="bold", parse_math=False)
    ax.text(0.5, 0.12, f"1 at index {id:,}", ha="center", va="center", fontsize=7, color=QUIET)


def _distribution(ax: "Axes", text: UnrolledText, position: int) -> None:
    """Draw the most probable tokens, and the one that follows."""
    step = text.steps[position]
    shown = list(step.likely)
    if step.next_token not in [token for token, _ in shown]:
        shown = [*shown, (step.next_token, float(np.exp(step.log_prob_nats)))]
    colors = [SERIES[1] if token == step.next_token else SERIES[0] for token, _ in shown]
    ax.barh(range(len(shown)), [probability for _, probability in shown], 0.75, color=colors)
    for row, (_, probability) in enumerate(shown):
        ax.text(probability + 0.03, row, f"{probability:.3f}", va="center", fontsize=6, color=INK)
    ax.set_yticks(range(len(shown)), [token for token, _ in shown], fontsize=8, parse_math=False)
    ax.set_xticks([])
    ax.set(xlim=(0, 1.35), ylim=(5.6, -0.6))
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines["bottom"].set_visible(False)
    ax.set_title(f"{step.next_token}: {step.log_prob_nats:.4f}", fontsize=8, parse_math=False)


def _arrows(text: UnrolledText, grid: "list[list[Axes]]") -> None:
    """Draw arrows from the state of each step to that of the next."""
    names = [name for name, _, _ in _rows(text)]
    for row, name in enumerate(names, start=1):
        if not name.startswith(("memory", "output")) or "gate" in name:
            continue
        for before, after in zip(grid[row][:-1], grid[row][1:], strict=True):
            after.annotate(
                "",
                xy=(0, 0.5),
                xycoords="axes fraction",
                xytext=(1, 0.5),
                textcoords=before.transAxes,
                arrowprops={"arrowstyle": "->", "color": INK, "shrinkA": 0, "shrinkB": 0, "linewidth": 1},
                annotation_clip=False,
            )
